"""Install nginx with the system's package manager, showing each command; `make nginx` calls this.

    python -m tools.install_nginx

`make run` never does so by itself: without nginx it serves the gateway directly.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tools import nginx

TIMEOUT_S = 600
INTERRUPTED = 130
"""Exit status after Ctrl-C, as in a shell."""


@dataclass(frozen=True, slots=True)
class PackageManager:
    """A package manager and its commands that install nginx without questions.

    Attributes:
        program: Name of its program.
        commands: Commands in order, each with its arguments.
        as_root: Whether they need root privileges.
    """

    program: str
    commands: tuple[tuple[str, ...], ...]
    as_root: bool = True


# Debian's package starts nginx on port 80; SYSTEMD_OFFLINE (systemd, docs/ENVIRONMENT.md) prevents that.
_APT = ("env", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_OFFLINE=1", "apt-get")
PACKAGE_MANAGERS = (
    PackageManager("apt-get", ((*_APT, "update"), (*_APT, "install", "--yes", "--no-install-recommends", "nginx"))),
    PackageManager("dnf", (("dnf", "install", "--assumeyes", "nginx"),)),
    PackageManager("apk", (("apk", "add", "nginx"),)),
    PackageManager("pacman", (("pacman", "--sync", "--refresh", "--noconfirm", "--needed", "nginx"),)),
    PackageManager("brew", (("brew", "install", "nginx"),), as_root=False),
)


class InstallationError(Exception):
    """nginx cannot be installed; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Install nginx if it is missing; return the exit status, 1 if that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.install_nginx", description=(__doc__ or "").partition(";")[0] + "."
    )
    parser.parse_args(arguments)
    try:
        path = nginx.find() or install()
    except InstallationError as error:
        print(f"make nginx: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    print(f"nginx is installed: {path}")
    return 0


def install() -> str:
    """Install nginx with the system's package manager and return its path; `sudo` may ask for a password.

    Raises:
        InstallationError: No supported package manager is installed, root privileges cannot be had, or it failed.
    """
    manager = next((manager for manager in PACKAGE_MANAGERS if shutil.which(manager.program)), None)
    if manager is None:
        names = ", ".join(manager.program for manager in PACKAGE_MANAGERS)
        raise InstallationError(f"None of {names} was found. Install nginx as your system does it.")
    prefix: tuple[str, ...] = ()
    if manager.as_root and os.geteuid() != 0:
        if shutil.which("sudo") is None:
            raise InstallationError(f"{manager.program} needs root privileges, and there is no sudo. Run it as root.")
        prefix = ("sudo",)
    for command in manager.commands:
        _run((*prefix, *command))
    path = nginx.find()
    if path is None:
        folders = ", ".join(nginx.SYSTEM_FOLDERS)
        raise InstallationError(f"{manager.program} installed nginx neither in PATH nor in {folders}. Add it to PATH.")
    return path


def _run(command: Sequence[str]) -> None:
    line = shlex.join(command)
    print(f"+ {line}", flush=True)
    try:
        result = subprocess.run(command, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise InstallationError(f"`{line}` took longer than {TIMEOUT_S} s. Run it yourself.") from None
    if result.returncode != 0:
        raise InstallationError(f"`{line}` ended with exit status {result.returncode}; the reason is above.")


if __name__ == "__main__":
    sys.exit(main())
