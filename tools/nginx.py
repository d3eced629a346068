"""A local nginx: find or install the program, fill in the template that the container uses too."""

import grp
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "nginx" / "nginx.conf.template"
DEFAULTS = ROOT / "nginx" / "defaults.env"
# Debian keeps nginx where only root's PATH leads; Homebrew's folder may be missing from a plain PATH.
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")
INSTALL_TIMEOUT_S = 300
# Named as in a Kubernetes secret of type kubernetes.io/tls.
CERTIFICATE, PRIVATE_KEY = "tls.crt", "tls.key"
HTTP2_DIRECTIVE_SINCE = (1, 25, 1)


@dataclass(frozen=True, slots=True)
class PackageManager:
    """A system's package manager and how it installs nginx without asking.

    Attributes:
        program: What it is called by.
        commands: Commands in order, each with its arguments.
        as_root: Whether these need root's rights.
    """

    program: str
    commands: tuple[tuple[str, ...], ...]
    as_root: bool = True


# Debian's package would start nginx on port 80 at once; SYSTEMD_OFFLINE (systemd, docs/ENVIRONMENT.md) prevents that.
_APT = ("env", "DEBIAN_FRONTEND=noninteractive", "SYSTEMD_OFFLINE=1", "apt-get", "-qq")
PACKAGE_MANAGERS = (
    PackageManager("apt-get", ((*_APT, "update"), (*_APT, "install", "--no-install-recommends", "nginx"))),
    PackageManager("dnf", (("dnf", "install", "--assumeyes", "--quiet", "nginx"),)),
    PackageManager("apk", (("apk", "add", "--quiet", "nginx"),)),
    PackageManager("pacman", (("pacman", "--sync", "--refresh", "--noconfirm", "--needed", "nginx"),)),
    PackageManager("brew", (("brew", "install", "--quiet", "nginx"),), as_root=False),
)


class TlsError(Exception):
    """There is no certificate to serve HTTPS with; the message says what was expected."""


class NginxUnavailableError(Exception):
    """nginx is not installed and could not be; the message says why and what to do."""


def render(values: Mapping[str, str]) -> str:
    """Return nginx's configuration: the template with its `${NAMES}` filled in.

    Args:
        values: What differs from nginx/defaults.env. Names that the template does not have are left out.

    Raises:
        KeyError: the template has a name that neither `values` nor the defaults give.
    """
    known = {**defaults(), **values}
    return re.sub(r"\$\{([A-Z_]+)\}", lambda match: known[match[1]], TEMPLATE.read_text(encoding="utf-8"))


def defaults() -> dict[str, str]:
    """Return the values of nginx/defaults.env by name."""
    lines = DEFAULTS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value for name, value in pairs}  # noqa: C416  # dict() would lose the pairs' length for mypy


def listen_values(address: str, tls_dir: Path | None, executable: str) -> dict[str, str]:
    """Return what the template is to say of the port.

    Args:
        address: What to listen on, `host:port`.
        tls_dir: Folder with tls.crt, the certificate with the intermediate ones after it, and tls.key, its private key,
            both PEM; None for plain HTTP.
        executable: Path of nginx, whose version tells how HTTP/2 is switched on.

    Raises:
        TlsError: one of the files is missing.
    """
    if tls_dir is None:
        return {"NGINX_LISTEN": address}
    for name in (CERTIFICATE, PRIVATE_KEY):
        if not (tls_dir / name).is_file():
            raise TlsError(f"TLS_DIR={tls_dir} has no file {name}; expected {CERTIFICATE} and {PRIVATE_KEY}, both PEM.")
    directives = f'ssl_certificate "{tls_dir / CERTIFICATE}"; ssl_certificate_key "{tls_dir / PRIVATE_KEY}";'
    if version(executable) < HTTP2_DIRECTIVE_SINCE:
        return {"NGINX_LISTEN": f"{address} ssl http2", "NGINX_TLS": directives}
    return {"NGINX_LISTEN": f"{address} ssl", "NGINX_TLS": f"{directives} http2 on;"}


def version(executable: str) -> tuple[int, ...]:
    """Return the version of an nginx."""
    told = subprocess.run((executable, "-v"), capture_output=True, text=True, check=True).stderr
    return tuple(int(number) for number in re.findall(r"\d+", told)[:3])


def find() -> str | None:
    """Return the path of nginx, or None when there is none."""
    return shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS)))


def install(log: Path) -> str:
    """Install nginx through the system's package manager and return its path.

    Args:
        log: File for what the package manager prints.

    Raises:
        NginxUnavailableError: there is no known package manager, it would have to ask, or it failed.
    """
    manager = next((known for known in PACKAGE_MANAGERS if shutil.which(known.program)), None)
    if manager is None:
        known = ", ".join(manager.program for manager in PACKAGE_MANAGERS)
        raise NginxUnavailableError(f"none of {known} is here to install it. Install nginx to have it in front")
    prefix = _root_prefix() if manager.as_root else ()
    if prefix is None:
        raise NginxUnavailableError(f"that needs root's rights. Once: sudo {manager.program} install nginx")
    with log.open("wb") as output:
        for command in manager.commands:
            _run((*prefix, *command), output.fileno(), log)
    path = find()
    if path is None:
        raise NginxUnavailableError(f"{manager.program} put it where PATH does not lead; see {log}")
    return path


def command(program: str, configuration: Path) -> tuple[str, ...]:
    """Return the command that runs nginx, which writes to the folder of its configuration alone."""
    folder = configuration.parent
    run = (program, "-e", "stderr", "-p", str(folder), "-c", str(configuration))
    # As root, nginx would let its workers run as a user that may not enter this folder.
    return (*run, "-g", f"user root {grp.getgrgid(0).gr_name};") if os.geteuid() == 0 else run


def _root_prefix() -> tuple[str, ...] | None:
    """Return what to put in front of a command for root's rights; None when a password would be asked for."""
    if os.geteuid() == 0:
        return ()
    sudo = shutil.which("sudo")
    if sudo and subprocess.run((sudo, "-n", "true"), capture_output=True, check=False).returncode == 0:
        return (sudo, "-n")
    return None


def _run(command: tuple[str, ...], output: int, log: Path) -> None:
    line = " ".join(command)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NginxUnavailableError(f"`{line}` took longer than {INSTALL_TIMEOUT_S} s; see {log}") from None
    if done.returncode != 0:
        raise NginxUnavailableError(f"`{line}` ended with exit status {done.returncode}; see {log}")
