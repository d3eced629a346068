"""Look up the locked packages, by uv, among the vulnerabilities that OSV (https://osv.dev) knows.

    python -m tools.audit

Exit status 1 when one is known. Where the network does not reach that far, it says so, with the reason, and is 0.
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
# Tried once, and not for long: where there is no network, lint would wait for nothing.
PATIENCE = {"UV_HTTP_RETRIES": "0", "UV_HTTP_CONNECT_TIMEOUT": "5", "UV_HTTP_TIMEOUT": "60"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Look up all packages, of every extra and group.

    Args:
        arguments: Further ones for `uv audit`; those of the command line where None.

    Returns:
        Exit status.
    """
    further = sys.argv[1:] if arguments is None else arguments
    done = subprocess.run(
        (UV, "audit", "--frozen", "--preview-features", "audit-command", *further),
        cwd=ROOT,
        env=os.environ | PATIENCE,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode and UNREACHABLE in done.stderr:
        print(f"Known vulnerabilities: skipped, they cannot be looked up from here: {reason(done.stderr)}")
        return 0
    print(f"{done.stdout}{done.stderr}".strip())
    return done.returncode


def reason(complaint: str) -> str:
    """Return the last cause that uv tells."""
    return complaint.strip().splitlines()[-1].strip().removeprefix("cause: ")


if __name__ == "__main__":
    sys.exit(main())
