"""Find nginx, and render its configuration from the template that the container also uses."""

import grp
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tools import invocation

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "nginx" / "nginx.conf.template"
DEFAULTS = ROOT / "nginx" / "defaults.env"
# Debian installs nginx into a folder that only root has in PATH; Homebrew's folder may be missing from PATH.
SYSTEM_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")
# Named as in a Kubernetes secret of type kubernetes.io/tls.
CERTIFICATE, PRIVATE_KEY = "tls.crt", "tls.key"
HTTP2_DIRECTIVE_SINCE = (1, 25, 1)
ALL_OF_IPV6 = "[::]:"


class TlsError(Exception):
    """The certificate for HTTPS is missing; the message says what is expected."""


def render(values: Mapping[str, str]) -> str:
    """Return nginx's configuration: the template with a value for each `${NAME}`.

    Args:
        values: Values that override nginx/defaults.env. Names that the template does not use are ignored.

    Raises:
        KeyError: The template uses a name that is in neither `values` nor the defaults.
    """
    all_values = {**defaults(), **values}
    return re.sub(r"\$\{([A-Z_]+)\}", lambda match: all_values[match[1]], TEMPLATE.read_text(encoding="utf-8"))


def defaults() -> dict[str, str]:
    """Return the values of nginx/defaults.env by name."""
    lines = DEFAULTS.read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value for name, value in pairs}  # noqa: C416  # dict() would lose the pairs' length for mypy


def listen_values(address: str, tls_dir: Path | None, executable: str) -> dict[str, str]:
    """Return the values of the template that concern the port.

    Args:
        address: Address to listen on, `host:port`.
        tls_dir: Folder with tls.crt, the certificate followed by the intermediate ones, and tls.key, its private key,
            both PEM; None for plain HTTP.
        executable: Path of nginx; the directive for HTTP/2 depends on its version.

    Raises:
        TlsError: One of the files is missing.
    """
    options, tls = "", {}
    if tls_dir is not None:
        for name in (CERTIFICATE, PRIVATE_KEY):
            if not (tls_dir / name).is_file():
                raise TlsError(
                    f"{invocation.option('TLS_DIR', tls_dir)} has no file {name}; "
                    f"expected {CERTIFICATE} and {PRIVATE_KEY}, both PEM."
                )
        directives = f'ssl_certificate "{tls_dir / CERTIFICATE}"; ssl_certificate_key "{tls_dir / PRIVATE_KEY}";'
        has_directive = version(executable) >= HTTP2_DIRECTIVE_SINCE
        options = " ssl" if has_directive else " ssl http2"
        tls = {"NGINX_TLS": f"{directives} http2 on;" if has_directive else directives}
    values = {"NGINX_LISTEN": f"{address}{options}", **tls}
    if address.startswith(ALL_OF_IPV6):  # alone, nginx would listen on IPv6 only
        values["NGINX_SECOND_LISTEN"] = f"listen {address.removeprefix(ALL_OF_IPV6)}{options} default_server;"
    return values


def version(executable: str) -> tuple[int, ...]:
    """Return the version of an nginx."""
    output = subprocess.run((executable, "-v"), capture_output=True, text=True, check=True).stderr
    return tuple(int(number) for number in re.findall(r"\d+", output)[:3])


def find() -> str | None:
    """Return the path of nginx, None if it is not installed."""
    return shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS)))


def command(program: str, configuration: Path) -> tuple[str, ...]:
    """Return the command that runs nginx; it writes only to the folder of its configuration."""
    folder = configuration.parent
    run = (program, "-e", "stderr", "-p", str(folder), "-c", str(configuration))
    # Started as root, nginx would run its workers as a user without access to this folder.
    return (*run, "-g", f"user root {grp.getgrgid(0).gr_name};") if os.geteuid() == 0 else run
