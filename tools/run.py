"""Serve the committed models until Ctrl-C with model server, gateway and nginx; `make run` calls this.

    python -m tools.run --port=8080 --gateway-port=8000 --grpc-port=8500 --rest-port=8501 \
        --models-config=serving_models/models.config --run-dir=.run

Logs are written to RUN_DIR/logs, and jobs to RUN_DIR/jobs; both are kept. Everything else in RUN_DIR is removed at the
end.
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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args
from urllib.parse import quote

from gateway import __version__
from gateway.access.keys import Keys, KeysError
from gateway.models.configured import ModelsConfigError
from gateway.reloaded_file import UnreadableFileError
from gateway.settings import PREFIX, Settings, SettingsError
from tools import invocation, nginx, ports, programs, tensorflow_extra
from tools.failed_models import FailedModels, query_statuses
from tools.models_config import (
    NO_SAMPLE,
    FaultWatch,
    describe_fault,
    display_path,
    find_faults,
    find_sample,
    read_entries,
)
from tools.programs import STEADY_S, Options
from tools.stack import ProgramEndedError, StopRequestedError, Supervisor

PROBE_TIMEOUT_S = 3
READY, STARTING, NO_ANSWER = "ready", "gateway: starting", "no answer yet"
GATEWAY_UNAVAILABLE = "/problems/gateway-unavailable"
# A default model that stays unusable for so long does not keep the others from being used.
UNUSABLE_S = 10.0
AVAILABLE = "AVAILABLE"
MODELS_CHECK_S = 2.0


class StartError(Exception):
    """The stack cannot be started; the message says why and what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stack until a signal is received.

    Returns:
        Exit status: 0 after a signal, 1 if a program could not be started or ended by itself.
    """
    try:
        run(parse(arguments))
    except (StopRequestedError, KeyboardInterrupt):
        say("Stopped.")
    except (StartError, ports.PortsError, nginx.TlsError, SettingsError, ProgramEndedError, TimeoutError) as error:
        print(f"{invocation.command()}: {error}", file=sys.stderr)
        return 1
    return 0


def run(options: Options) -> None:
    """Check the options and the environment, then serve.

    Raises:
        StartError: The models' configuration is missing, the run's folder cannot be used, or nginx is missing for TLS
            or TensorFlow for all models, or the API keys cannot be used.
        TlsError: The folder `tls_dir` has no certificate.
        PortsError: A port is not free.
        SettingsError: A setting of the gateway is invalid.
        ProgramEndedError: A program ended by itself.
        StopRequestedError: A signal was received.
        TimeoutError: The stack was not ready in time.
    """
    if not options.models_config.is_file():
        raise StartError(
            f"{display_path(options.models_config)} does not exist. "
            f"Set {invocation.option('MODELS_CONFIG')} to a file that lists the models."
        )
    os.environ.update(resolve_paths(os.environ, invocation.folder()))
    settings = Settings.from_env(programs.gateway_environment(options))
    check_keys(settings)
    ports.check(options.ports)
    watch = FaultWatch(options.models_config, FailedModels(options.rest_port, options.logs / "gateway.log").find)
    try:
        faults = [*watch.start(), *install_tensorflow(options.models_config)]
    except (ModelsConfigError, tensorflow_extra.TensorFlowError) as error:
        raise StartError(str(error)) from error
    with scratch_folder(options) as scratch:
        say(f"Image Gateway {__version__}")
        executable = find_nginx(options)
        if options.tls_dir and executable is None:
            raise StartError(f"{invocation.option('TLS_DIR')} is set, but HTTPS needs nginx, which is not installed.")
        for line in faults:
            say(line)
        serve(options, settings, scratch, executable, watch)


def resolve_paths(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the gateway's settings that are paths as absolute ones: its programs run in another folder than the user.

    Args:
        environment: Environment variables; those that are not set, or empty, are left out.
        folder: The folder that relative paths are meant from.
    """
    paths = {}
    for name, field in Settings.model_fields.items():
        variable = PREFIX + name.upper()
        if Path in (field.annotation, *get_args(field.annotation)) and (value := environment.get(variable, "").strip()):
            paths[variable] = str(folder / value)
    return paths


def check_keys(settings: Settings) -> None:
    """Check the API keys as the gateway does when it starts.

    Raises:
        StartError: They are malformed, or their file cannot be read.
    """
    try:
        Keys(settings.api_keys, settings.api_keys_file)
    except (KeysError, UnreadableFileError) as error:
        raise StartError(str(error)) from error


def install_tensorflow(config: Path) -> list[str]:
    """Install TensorFlow if models need it; return a line for each of them if that fails and others need none.

    Raises:
        ModelsConfigError: The configuration cannot be used.
        TensorFlowError: It cannot be installed, and without it no model can be served.
    """
    names = tensorflow_extra.find_models(config)
    try:
        tensorflow_extra.ensure(names)
    except tensorflow_extra.TensorFlowError as error:
        if len(names) == len(read_entries(config)) or not tensorflow_extra.is_environment_intact():
            raise
        return [describe_fault(name, str(error)) for name in names]
    return []


def serve(options: Options, settings: Settings, scratch: Path, nginx_executable: str | None, watch: FaultWatch) -> None:
    """Start all programs, report when they are ready, and run until a signal or the end of one of them.

    Faults of the models' folders are reported meanwhile.

    Raises:
        ProgramEndedError: A program ended by itself.
        StopRequestedError: A signal was received.
        TimeoutError: The stack was not ready in time.
    """
    programs_to_start = [
        programs.model_server(options, settings),
        programs.gateway(options, settings, scratch, direct=nginx_executable is None),
        *([programs.jobs_worker(options, settings)] if settings.jobs != "off" else []),
        *([programs.nginx_proxy(options, settings, scratch, nginx_executable)] if nginx_executable else []),
    ]
    say(f"Starting {', '.join(program.name for program in programs_to_start)} ...")
    with Supervisor(options.logs) as stack:
        for program in programs_to_start:
            stack.start(program)
        probe = Probe(options, settings.default_model)
        try:
            stack.wait_until(probe.ready, options.ready_timeout_s)
            gateway_port = options.port if nginx_executable is None else options.gateway_port
            unusable = find_unusable_models(options.models_config, settings.default_model, gateway_port)
            for line in unusable.values():
                say(line)
            watch.skip([*unusable, *default_models(options.models_config, settings.default_model)])
            other = next((name for name in probe.others if name not in unusable), None)
            say(welcome(options, other, settings.default_model))
            while True:
                stack.wait(MODELS_CHECK_S)
                for line in [*stack.take_notices(), *watch.check()]:
                    say(line)
        except TimeoutError as error:
            raise TimeoutError(
                f"{error} ({probe.last.rstrip('.')}); see the logs in {display_path(options.logs)}."
            ) from None
        except StopRequestedError as request:
            say(f"\n{request}: stopping ...")
            raise


class Probe:
    """Polls /readyz of the outermost program and prints each change of its answer.

    Args:
        options: Where the programs listen.
        default_model: The model that /readyz is about; None for the first one of the configuration.

    Attributes:
        last: The last answer.
        others: The models that are served although the default one cannot be used; empty if that one can.
    """

    def __init__(self, options: Options, default_model: str | None = None) -> None:
        self.last = ""
        self.others: Sequence[str] = ()
        self._options = options
        self._default_model = default_model
        self._lacks_version = False
        self._started_s = self._changed_s = time.monotonic()

    def ready(self) -> bool:
        """Poll once; return whether the stack has been ready for `STEADY_S`.

        Without the default model it is ready once that one has been unusable, and not loading, for `UNUSABLE_S`.
        """
        answer = self._poll()
        now_s = time.monotonic()
        if answer != self.last:
            say(f"{now_s - self._started_s:5.1f} s  {answer}")
            self.last, self._changed_s = answer, now_s
        steady_s = now_s - self._changed_s
        if answer in {READY, STARTING, NO_ANSWER} or steady_s < UNUSABLE_S:
            return answer == READY and steady_s >= STEADY_S
        self.others = self._find_others()
        return bool(self.others)

    def _find_others(self) -> Sequence[str]:
        """Return the models that the model server has loaded beside the default one.

        There are none while that one loads, or while the gateway does not see that it is loaded: it connects late.
        """
        try:
            names = list(read_entries(self._options.models_config))
            default = self._default_model or names[0]
            states = self._states(default)
            if states & {"START", "LOADING"} or (self._lacks_version and AVAILABLE in states):
                return ()
            return [name for name in names if name != default and AVAILABLE in self._states(name)]
        except (ModelsConfigError, OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
            return ()

    def _states(self, model: str) -> set[str]:
        """Return the states of a model's versions; see `query_statuses`."""
        return {status["state"] for status in query_statuses(self._options.rest_port, model)}

    def _poll(self) -> str:
        connection = connect(self._options)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return NO_ANSWER
        finally:
            connection.close()
        if response.status == http.HTTPStatus.OK:
            return READY
        try:
            problem = json.loads(body)
            self._lacks_version = "version" in problem.get("missing", ())
            # nginx's own problem is written for callers.
            return STARTING if problem["type"] == GATEWAY_UNAVAILABLE else str(problem["detail"])
        except (ValueError, LookupError, TypeError):
            return f"status {response.status}"


def find_unusable_models(config: Path, default_model: str | None, gateway_port: int) -> Mapping[str, str]:
    """Return a line about each model, by name, that is not the default one and cannot classify an image.

    Versions that `train` exported were tested then, and models whose folder has a fault have been reported.
    """
    from tools.service import AccessError, NoServiceError, Service, ServiceError  # noqa: PLC0415  # OpenCV and requests would delay the start

    try:
        entries = read_entries(config)
    except ModelsConfigError:
        return {}
    default, faults = default_model or next(iter(entries)), find_faults(entries)
    service = Service(f"http://127.0.0.1:{gateway_port}", None)
    unusable = {}
    for name, folder in entries.folders.items():
        if name == default or name in faults or any(folder.path.glob("*/assets.extra/card.json")):
            continue
        try:
            service.await_model(name, timeout_s=0)
        except (AccessError, NoServiceError):
            break
        except ServiceError as error:
            unusable[name] = str(error)
    return unusable


def default_models(config: Path, default_model: str | None) -> Sequence[str]:
    """Return the name of the default model, in a list; an empty one if the configuration cannot be used now."""
    try:
        return [default_model or next(iter(read_entries(config)))]
    except ModelsConfigError:
        return []


def connect(options: Options) -> http.client.HTTPConnection:
    """Return a connection to the outermost program, not opened yet."""
    if options.tls_dir is None:
        return http.client.HTTPConnection(options.host, options.port, timeout=PROBE_TIMEOUT_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # our own nginx; its certificate has the public name
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(options.host, options.port, timeout=PROBE_TIMEOUT_S, context=context)


def parse(arguments: Sequence[str] | None) -> Options:
    """Parse the command line."""
    program = invocation.command() if invocation.SERVE_FOLDER in os.environ else "python -m tools.run"
    parser = argparse.ArgumentParser(prog=program, description=__doc__.split("\n", 1)[0])
    parser.add_argument("--version", action="version", version=f"image-gateway {__version__}")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 or :: for all")
    for name, default in (("port", 8080), ("gateway-port", 8000), ("grpc-port", 8500), ("rest-port", 8501)):
        parser.add_argument(f"--{name}", type=_port, default=default, metavar="PORT", help=f"default: {default}")
    parser.add_argument("--models-config", type=Path, default=Path("serving_models/models.config"), metavar="FILE")
    parser.add_argument(
        "--run-dir", type=Path, default=Path(".run"), metavar="FOLDER", help="folder for logs and temporary files"
    )
    parser.add_argument("--ready-timeout", type=float, default=120, metavar="SECONDS", dest="ready_timeout_s")
    parser.add_argument("--batching-config", type=Path, metavar="FILE", help="BatchingParameters of the model server")
    parser.add_argument(
        "--tls-dir", type=Path, metavar="FOLDER", help="serve HTTPS with tls.crt and tls.key from this folder"
    )
    parser.add_argument("--without-nginx", action="store_false", dest="use_nginx", help="serve the gateway directly")
    options = parser.parse_args(arguments)
    for name in ("models_config", "run_dir", "batching_config", "tls_dir"):
        path: Path | None = getattr(options, name)
        setattr(options, name, path and path.absolute())
    return Options(**vars(options), jobs_dir=options.run_dir / "jobs")


def _port(text: str) -> int:
    if text.isdecimal() and 0 < int(text) <= ports.HIGHEST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port number. Choose one from 1 to {ports.HIGHEST_PORT}.")


def find_nginx(options: Options) -> str | None:
    """Return the path of nginx, installing it if necessary; None to serve the gateway directly."""
    if not options.use_nginx:
        return None
    path = nginx.find()
    if path:
        return path
    log = options.logs / "nginx-install.log"
    say(f"nginx is not installed; installing it with the system's package manager ({display_path(log)}) ...")
    try:
        return nginx.install(log)
    except nginx.NginxUnavailableError as error:
        say(f"Continuing without nginx, with the gateway on port {options.port}: {error}.")
        return None


@contextlib.contextmanager
def scratch_folder(options: Options) -> Iterator[Path]:
    """Lock RUN_DIR and yield a folder in it that is removed afterwards.

    Raises:
        StartError: Another run uses it, or it cannot be written to.
    """
    with contextlib.ExitStack() as resources:
        try:
            options.logs.mkdir(parents=True, exist_ok=True)
            lock = os.open(options.run_dir, os.O_RDONLY)
            resources.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            scratch = resources.enter_context(tempfile.TemporaryDirectory(prefix="state-", dir=options.run_dir))
        except BlockingIOError:
            advice = f"Choose another folder: {invocation.command()} {invocation.option('RUN_DIR', '.run2')}"
            raise StartError(f"{display_path(options.run_dir)} is in use by another `make run`. {advice}") from None
        except OSError as error:
            raise StartError(
                f"{invocation.option('RUN_DIR', options.run_dir)} cannot be used: {error.strerror}."
            ) from error
        yield Path(scratch)


def is_running(run_dir: Path) -> bool:
    """Return whether a `make run` of this machine uses a RUN_DIR."""
    try:
        lock = os.open(run_dir, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def welcome(options: Options, model: str | None = None, default_model: str | None = None) -> str:
    """Return the text to print when the stack is ready, with a command for `model`, or else for the default model."""
    models = options.models_config.parent
    names = default_models(options.models_config, default_model) if model is None else [model]
    sample = find_sample(*(models / name for name in names))
    image = shlex.quote(display_path(sample)) if sample else NO_SAMPLE
    path = "predict" if model is None else f"models/{quote(model, safe='')}/predict"
    predict = shlex.quote(f"{options.url}/api/v1/{path}")
    return (
        f"\nOpen    {options.url}\nor try  curl -F image=@{image} {predict}\n"
        f"Logs    {display_path(options.logs)}\nStop    Ctrl-C"
    )


def say(text: str) -> None:
    """Print at once; output that can no longer be written is ignored."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
