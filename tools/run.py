"""Serve the committed models on this machine until Ctrl-C: model server, gateway and nginx. `make run` calls this.

    python -m tools.run --port=8080 --gateway-port=8000 --grpc-port=8500 --rest-port=8501 \
        --models-config=serving_models/models.config --run-dir=.run

Logs go to RUN_DIR/logs and stay; what else is written under RUN_DIR is gone after the end.
"""

import argparse
import contextlib
import fcntl
import http.client
import json
import os
import shlex
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway import __version__
from gateway.settings import Settings, SettingsError
from tools import nginx, ports, programs
from tools.programs import Options
from tools.stack import ProgramEndedError, StopRequestedError, Supervisor

PROBE_TIMEOUT_S = 3
READY = "ready"
# Each gateway worker has a connection of its own to the model server. One that was refused is tried again after up to
# a second and a fifth (gRPC's jitter), so not before then do all workers answer as the one that was asked does.
STEADY_S = 1.5


class StartError(Exception):
    """The stack cannot be started; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stack until a signal comes.

    Returns:
        Exit status: 0 after a signal, 1 when something could not be started or ended by itself.
    """
    try:
        run(parse(arguments))
    except (StopRequestedError, KeyboardInterrupt):
        say("Stopped.")
    except (StartError, ports.PortsError, nginx.TlsError, SettingsError, ProgramEndedError, TimeoutError) as error:
        print(f"make run: {error}", file=sys.stderr)
        return 1
    return 0


def run(options: Options) -> None:
    """Check what can be checked beforehand, then serve.

    Raises:
        StartError: the models' configuration is missing, the run's folder cannot be used, or there is no nginx for TLS.
        TlsError: there is no certificate where one was said to be.
        PortsError: a port is taken.
        SettingsError: an environment variable has a value that the gateway cannot use.
        ProgramEndedError: one of the programs ended by itself.
        StopRequestedError: a signal came.
        TimeoutError: they were not ready in time.
    """
    if not options.models_config.is_file():
        raise StartError(f"There is no {shown(options.models_config)}. MODELS_CONFIG names the models to serve.")
    settings = Settings.from_env(programs.gateway_environment(options))
    ports.check(options.ports)
    with scratch_folder(options) as scratch:
        say(f"Image Gateway {__version__}")
        executable = find_nginx(options)
        if options.tls_dir and executable is None:
            raise StartError("TLS_DIR is set, but only nginx speaks HTTPS, and there is none.")
        serve(options, settings, scratch, executable)


def serve(options: Options, settings: Settings, scratch: Path, nginx_executable: str | None) -> None:
    """Start all programs, tell when they are ready, and go on until something ends that.

    Raises:
        ProgramEndedError: one of them ended by itself.
        StopRequestedError: a signal came.
        TimeoutError: they were not ready in time.
    """
    chosen = [
        programs.model_server(options, settings),
        programs.gateway(options, settings, scratch, direct=nginx_executable is None),
        *([programs.nginx_proxy(options, settings, scratch, nginx_executable)] if nginx_executable else []),
    ]
    say(f"Starting {', '.join(program.name for program in chosen)} ...")
    with Supervisor(options.logs) as stack:
        for program in chosen:
            stack.start(program)
        try:
            stack.wait_until(Probe(options).ready, options.ready_timeout_s)
            say(welcome(options))
            stack.run()
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the logs in {shown(options.logs)} tell more.") from None
        except StopRequestedError as request:
            say(f"\n{request}: stopping ...")
            raise


class Probe:
    """Asks the outermost program whether requests would be answered, and says so whenever that changes."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._started_s = self._changed_s = time.monotonic()
        self._last = ""

    def ready(self) -> bool:
        """Ask once; True when the answer has been yes for `STEADY_S`."""
        answer = self._ask()
        now_s = time.monotonic()
        if answer != self._last:
            say(f"{now_s - self._started_s:5.1f} s  {answer}")
            self._last, self._changed_s = answer, now_s
        return answer == READY and now_s - self._changed_s >= STEADY_S

    def _ask(self) -> str:
        connection = connect(self._options)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return "no answer yet"
        finally:
            connection.close()
        if response.status == http.HTTPStatus.OK:
            return READY
        try:
            return str(json.loads(body)["detail"])
        except (ValueError, LookupError, TypeError):
            return f"status {response.status}"


def connect(options: Options) -> http.client.HTTPConnection:
    """Make a connection, not opened yet, to the outermost program."""
    if options.tls_dir is None:
        return http.client.HTTPConnection(options.host, options.port, timeout=PROBE_TIMEOUT_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # it is our own nginx; the certificate is for the name that others know it by
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(options.host, options.port, timeout=PROBE_TIMEOUT_S, context=context)


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.run", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--version", action="version", version=f"image-gateway {__version__}")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all networks")
    for name, default in (("port", 8080), ("gateway-port", 8000), ("grpc-port", 8500), ("rest-port", 8501)):
        parser.add_argument(f"--{name}", type=_port, default=default, metavar="PORT", help=f"default: {default}")
    parser.add_argument("--models-config", type=Path, default=Path("serving_models/models.config"), metavar="FILE")
    parser.add_argument("--run-dir", type=Path, default=Path(".run"), metavar="FOLDER", help="for logs and the like")
    parser.add_argument("--ready-timeout", type=float, default=120, metavar="SECONDS", dest="ready_timeout_s")
    parser.add_argument("--batching-config", type=Path, metavar="FILE", help="how to compute calls together")
    parser.add_argument("--tls-dir", type=Path, metavar="FOLDER", help="with tls.crt and tls.key: serve HTTPS")
    parser.add_argument("--without-nginx", action="store_false", dest="use_nginx", help="serve the gateway directly")
    given = parser.parse_args(arguments)
    given.models_config = given.models_config.absolute()
    given.run_dir = given.run_dir.absolute()
    given.batching_config = given.batching_config and given.batching_config.absolute()
    given.tls_dir = given.tls_dir and given.tls_dir.absolute()
    return Options(**vars(given))


def _port(text: str) -> int:
    if text.isdecimal() and 0 < int(text) <= ports.HIGHEST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port number; 1 to {ports.HIGHEST_PORT} are")


def find_nginx(options: Options) -> str | None:
    """Return nginx's path, after installing it where need be; None when the gateway is to be served directly."""
    if not options.use_nginx:
        return None
    found = nginx.find()
    if found:
        return found
    log = options.logs / "nginx-install.log"
    say(f"nginx is not installed; installing it with the system's package manager ({shown(log)}) ...")
    try:
        return nginx.install(log)
    except nginx.NginxUnavailableError as error:
        say(f"Going on without nginx, the gateway itself on port {options.port}: {error}.")
        return None


@contextlib.contextmanager
def scratch_folder(options: Options) -> Iterator[Path]:
    """Have RUN_DIR to ourselves, with a folder in it that is gone afterwards.

    Raises:
        StartError: another run uses it, or it cannot be written to.
    """
    with contextlib.ExitStack() as held:
        try:
            options.logs.mkdir(parents=True, exist_ok=True)
            lock = os.open(options.run_dir, os.O_RDONLY)
            held.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            scratch = held.enter_context(tempfile.TemporaryDirectory(prefix="state-", dir=options.run_dir))
        except BlockingIOError:
            message = "is in use by another `make run`. Give this one a folder of its own: make run RUN_DIR=.run2"
            raise StartError(f"{shown(options.run_dir)} {message}") from None
        except OSError as error:
            raise StartError(f"RUN_DIR={options.run_dir} cannot be used: {error.strerror}.") from error
        yield Path(scratch)


def welcome(options: Options) -> str:
    """Return what to tell when all is ready."""
    url = f"{'https' if options.tls_dir else 'http'}://localhost:{options.port}"
    samples = sorted(options.models_config.parent.glob("*/*/assets.extra/golden/*.png"))
    image = shlex.quote(shown(samples[0])) if samples else "picture.png"
    return (
        f"\nOpen    {url}\nor try  curl -F image=@{image} {url}/api/v1/predict\n"
        f"Logs    {shown(options.logs)}\nStop    Ctrl-C"
    )


def shown(path: Path) -> str:
    """Return a path as short as it can be typed here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def say(text: str) -> None:
    """Print at once; that nobody can read it any more stops nothing."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
