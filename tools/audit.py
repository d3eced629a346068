"""Look up the locked packages with uv in OSV (https://osv.dev), a database of known vulnerabilities.

    python -m tools.audit

The exit status is 1 if a package has a known vulnerability. Without access to OSV the check is skipped, with the reason
and exit status 0.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = ROOT / ".tools" / "uv" / "bin" / "uv"
TIMEOUT_S = 300
UNREACHABLE = "error sending request for url"
# One short attempt, so that lint does not wait without a network.
NETWORK_LIMITS = {"UV_HTTP_RETRIES": "0", "UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_TIMEOUT": "60"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Look up all packages, of every extra and group.

    Args:
        arguments: Additional arguments of `uv audit`; None for those of the command line.

    Returns:
        Exit status.
    """
    additional = sys.argv[1:] if arguments is None else arguments
    result = subprocess.run(
        (UV, "audit", "--frozen", "--preview-features", "audit-command", *additional),
        cwd=ROOT,
        env=os.environ | NETWORK_LIMITS,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if result.returncode and UNREACHABLE in result.stderr:
        print(f"Known vulnerabilities: skipped, OSV cannot be reached: {reason(result.stderr)}")
        return 0
    print(f"{result.stdout}{result.stderr}".strip())
    return result.returncode


def reason(error_output: str) -> str:
    """Return the last cause in uv's error output."""
    return error_output.strip().splitlines()[-1].strip().removeprefix("cause: ")


if __name__ == "__main__":
    sys.exit(main())
