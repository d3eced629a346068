"""The command lines of deployed model servers, which a shell completes from their container's environment."""

import subprocess
from collections.abc import Mapping


def arguments(script: str, environment: Mapping[str, str]) -> list[str]:
    """Return the arguments that a container's script starts the model server with."""
    _, _, command = script.partition("exec tensorflow_model_server")
    assert command, script
    printed = subprocess.run(
        ["/bin/bash", "-euc", f"printf '%s\\n' {command}"], env=environment, capture_output=True, text=True, check=True
    )
    return printed.stdout.splitlines()
