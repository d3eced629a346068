"""Serve the committed models until Ctrl-C with model server, gateway and nginx; `make run` calls this.

    python -m tools.run --port=8080 --gateway-port=8000 --grpc-port=8500 --rest-port=8501 \
        --models-config=serving_models/models.config --run-dir=.run

Logs are written to RUN_DIR/logs, and jobs to RUN_DIR/jobs; both are kept. Everything else in RUN_DIR is removed at the
end.
"""

import argparse
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Never
from urllib.parse import quote

from gateway import __version__
from gateway.models.configured import ModelsConfigError
from gateway.settings import Settings, SettingsError
from tools import invocation, nginx, ports, programs
from tools.failed_models import FailedModels
from tools.models_config import NO_SAMPLE, FaultWatch, display_path, find_sample, read_entries
from tools.programs import Options
from tools.readiness_probe import Probe, find_unusable_models
from tools.request_lines import RequestLines
from tools.run_folder import choose_other, is_running, scratch_folder
from tools.stack import ProgramEndedError, StopRequestedError, Supervisor
from tools.start_checks import (
    StartError,
    check_host,
    check_jobs_folder,
    check_keys,
    check_models,
    check_ports,
    find_nginx,
    install_tensorflow,
    resolve_paths,
)
from tools.tensorflow_extra import TensorFlowError
from tools.terminal import can_say, say

REPEATED = (
    *("host", "port", "gateway_port", "grpc_port", "rest_port"),
    *("models_config", "run_dir", "tls_dir", "batching_config"),
)
"""Options that are also variables of `make run`."""
REQUESTS_CHECK_S = 0.25
MODELS_CHECK_S = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stack until a signal is received.

    Returns:
        Exit status: 0 after a signal, 1 if a program could not be started or ended by itself.
    """
    options = parse(arguments)
    say(f"Image Gateway {__version__}")
    try:
        run(options)
    except (StopRequestedError, KeyboardInterrupt):
        say("Stopped.")
    except (
        *(StartError, ModelsConfigError, TensorFlowError, nginx.TlsError, SettingsError),
        *(ProgramEndedError, TimeoutError),
    ) as error:
        print(f"{invocation.command()}: {error}", file=sys.stderr)
        return 1
    return 0


def run(options: Options) -> None:
    """Check the options and the environment, then serve.

    Raises:
        StartError: A port, the models, a folder or the API keys cannot be used, or nginx is missing for TLS.
        ModelsConfigError: The models' configuration cannot be used.
        TensorFlowError: All models need TensorFlow, and it cannot be installed.
        TlsError: The folder `tls_dir` has no certificate.
        SettingsError: A setting of the gateway is invalid.
        ProgramEndedError: A program ended by itself.
        StopRequestedError: A signal was received.
        TimeoutError: The stack was not ready in time.
    """
    os.environ.update(resolve_paths(os.environ, invocation.folder()))
    settings = Settings.from_env(programs.gateway_environment(options))
    check_keys(settings)
    check_models(options.models_config, settings)
    executable = find_nginx(options)
    options = replace(options, use_nginx=executable is not None)
    check_host(options.host)
    repeated = repeated_options(options)
    check_ports(options, repeated)
    watch = FaultWatch(options.models_config, FailedModels(options.rest_port, options.logs / "gateway.log").find)
    faults = [*watch.start(), *install_tensorflow(options.models_config)]
    with scratch_folder(options, repeated) as scratch:
        check_jobs_folder(settings)
        for line in faults:
            say(line)
        serve(options, settings, scratch, executable, watch)


def serve(options: Options, settings: Settings, scratch: Path, nginx_executable: str | None, watch: FaultWatch) -> None:
    """Start all programs, report when they are ready, and run until a signal or the end of one of them.

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
        try:
            for program in programs_to_start:
                stack.start(program)
            wait_until_ready(stack, options, settings, watch)
            report(stack, options, watch)
        except StopRequestedError as request:
            say(f"\n{request}: stopping ...")
            raise


def wait_until_ready(stack: Supervisor, options: Options, settings: Settings, watch: FaultWatch) -> None:
    """Wait until requests are answered, then print models that cannot be used and how to send a request.

    Raises:
        ProgramEndedError: A program ended by itself.
        StopRequestedError: A signal was received.
        TimeoutError: The stack was not ready in time.
    """
    probe = Probe(options, settings.default_model)
    try:
        stack.wait_until(probe.ready, options.ready_timeout_s)
    except TimeoutError as error:
        raise TimeoutError(
            f"{error} ({probe.last.rstrip('.')}); see the logs in {display_path(options.logs)}."
        ) from None
    gateway_port = options.gateway_port if options.use_nginx else options.port
    unusable = find_unusable_models(options.models_config, settings.default_model, gateway_port)
    for line in unusable.values():
        say(line)
    watch.skip([*unusable, *default_models(options.models_config, settings.default_model)])
    other = next((name for name in probe.others if name not in unusable), None)
    say(welcome(options, other, settings.default_model))


def report(stack: Supervisor, options: Options, watch: FaultWatch) -> Never:
    """Print requests, faults of the models' folders and programs that are started again.

    Raises:
        ProgramEndedError: A program ended by itself.
        StopRequestedError: A signal was received.
    """
    requests = RequestLines(options.logs) if options.shows_requests else None
    models_check_s = time.monotonic()
    while True:
        try:
            stack.wait(REQUESTS_CHECK_S if requests else MODELS_CHECK_S)
        finally:  # the last requests before a signal, too
            for line in requests.read() if requests else ():
                if can_say():  # nothing else may wait for a terminal that is paused; the log has the line
                    say(line)
        lines = stack.take_notices()
        if time.monotonic() >= models_check_s:
            lines += watch.check()
            models_check_s = time.monotonic() + MODELS_CHECK_S
        for line in lines:
            say(line)


def default_models(config: Path, default_model: str | None) -> Sequence[str]:
    """Return the name of the default model, in a list; an empty one if the configuration cannot be used now."""
    try:
        return [default_model or next(iter(read_entries(config)))]
    except ModelsConfigError:
        return []


def repeated_options(options: Options) -> dict[str, object]:
    """Return the options that differ from the defaults, by variable; another RUN_DIR if a run uses that one."""
    defaults = parse([])
    values = {name: value for name in REPEATED if (value := getattr(options, name)) != getattr(defaults, name)}
    if is_running(options.run_dir):
        values["run_dir"] = choose_other(options.run_dir)
    return {name.upper(): display_path(value) if isinstance(value, Path) else value for name, value in values.items()}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the names that the user typed."""

    def error(self, message: str) -> Never:
        """Exit with a message."""
        text = re.sub(r"^argument --([a-z-]+)", lambda match: invocation.option(_variable(match[1])), message)
        self.exit(2, f"{invocation.command()}: {text}\n")


def parse(arguments: Sequence[str] | None) -> Options:
    """Parse the command line."""
    command = invocation.command() if invocation.SERVE_FOLDER in os.environ else "python -m tools.run"
    parser = Parser(prog=command, description=__doc__.split("\n", 1)[0])
    parser.add_argument("--version", action="version", version=f"image-gateway {__version__}")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s); 0.0.0.0 or :: for all")
    for name, default, program in (
        ("port", 8080, "nginx, or of the gateway without it"),
        ("gateway-port", 8000, "the gateway behind nginx"),
        ("grpc-port", 8500, "the model server for gRPC"),
        ("rest-port", 8501, "the model server for REST"),
    ):
        text = f"port of {program} ({default})"
        parser.add_argument(f"--{name}", type=_port, default=default, metavar="PORT", help=text)
    parser.add_argument(
        "--models-config",
        type=Path,
        default=Path("serving_models/models.config"),
        metavar="FILE",
        help="file that lists the models (%(default)s)",
    )
    parser.add_argument(
        "--run-dir",
        type=Path,
        default=Path(".run"),
        metavar="FOLDER",
        help="folder for logs, jobs and temporary files (%(default)s)",
    )
    parser.add_argument(
        "--ready-timeout",
        type=float,
        default=120,
        metavar="SECONDS",
        dest="ready_timeout_s",
        help="how long the start may take (%(default)s)",
    )
    parser.add_argument(
        "--batching-config", type=Path, metavar="FILE", help="file with BatchingParameters of the model server"
    )
    parser.add_argument(
        "--tls-dir", type=Path, metavar="FOLDER", help="serve HTTPS with tls.crt and tls.key from this folder"
    )
    parser.add_argument(
        "--without-nginx", action="store_false", dest="use_nginx", help="serve the gateway directly, without nginx"
    )
    parser.add_argument(
        "--quiet", action="store_false", dest="shows_requests", help="do not print a line for each request"
    )
    options = parser.parse_args(arguments)
    for name in ("models_config", "run_dir", "batching_config", "tls_dir"):
        path: Path | None = getattr(options, name)
        setattr(options, name, path and path.absolute())
    return Options(**vars(options), jobs_dir=options.run_dir / "jobs")


def _variable(option: str) -> str:
    return option.upper().replace("-", "_")


def _port(text: str) -> int:
    if text.isdecimal() and 0 < int(text) <= ports.HIGHEST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port number. Choose one from 1 to {ports.HIGHEST_PORT}.")


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


if __name__ == "__main__":
    sys.exit(main())
