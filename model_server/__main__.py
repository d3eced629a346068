"""Start and stop the server: `python -m model_server --port=8500 --model_config_file=...`."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import grpc

from model_server import logs
from model_server.batching.batching_servable import Batching
from model_server.batching.parameters import BatchingParameters, read_parameters
from model_server.dataplane import DataPlane
from model_server.errors import FailedPreconditionError, InvalidArgumentError, ServingError
from model_server.grpc.credentials import read_credentials
from model_server.grpc.services import GrpcOptions, create_server
from model_server.memory import MemoryBudget
from model_server.monitoring import Metrics, Monitoring, read_page_path
from model_server.options import CommandLine, FlagError, Options, parse, usage
from model_server.rest.app import RestApp
from model_server.rest.http_server import HttpServer
from model_server.runtime.loading import import_tensorflow_if_needed, load_version
from model_server.runtime.warmup import warm_up
from model_server.servable import Servable
from model_server.versions.config_file import ConfigFilePoller
from model_server.versions.lifecycle import Loader, LoadRetryPolicy
from model_server.versions.manager import ManagerConfig, ModelManager
from model_server.versions.repository import ModelConfig, read_base_path, read_config_file

_LOG = logging.getLogger("model_server")

START_FAILED = 255
"""Exit status of a failed start, the same as tensorflow_model_server's."""

DRAIN_S = 8.0
"""How long requests in progress may take after a signal; by default containers are killed 10 s after SIGTERM."""


class Shutdown:
    """Turns the first SIGTERM or SIGINT into an event, and exits the process on the second.

    The interpreter writes the number of each signal to a socket (`signal.set_wakeup_fd`), in whichever thread receives
    it, and a thread of its own reads them. Python runs its own handlers in the main thread, which may be about to
    block.
    """

    def __init__(self) -> None:
        self._requested = threading.Event()
        self._numbers, self._wakeup = socket.socketpair()
        self._wakeup.settimeout(0)

    def watch(self, models: ModelManager) -> None:
        """Start handling signals; on the first one, `models` is stopped."""
        signal.set_wakeup_fd(self._wakeup.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: None)
        threading.Thread(target=self._watch, args=(models,), name="signals", daemon=True).start()

    def wait(self) -> None:
        """Wait for a signal."""
        self._requested.wait()

    def _watch(self, models: ModelManager) -> None:
        _LOG.info("%s: no new requests are accepted, waiting for those in progress", self._next_signal().name)
        self._requested.set()
        models.stop()
        number = self._next_signal()
        _LOG.warning("%s again: exiting at once", number.name)
        os._exit(128 + number)

    def _next_signal(self) -> signal.Signals:
        return signal.Signals(self._numbers.recv(1)[0])


def main(arguments: Sequence[str]) -> int:
    """Run the server until a signal stops it; return the exit status."""
    logs.configure()
    try:
        command_line = parse(arguments)
    except FlagError as error:
        print(error, usage(), sep="\n", file=sys.stderr)  # noqa: T201  # command-line output
        return START_FAILED
    options = command_line.options
    if options.version:
        print("TensorFlow ModelServer: 2.20.0 (embedded stand-in)", "TensorFlow Library: 2.20.0", sep="\n")  # noqa: T201  # command-line output
        return 0
    if "--help" in command_line.unknown:  # the real server, too, exits with an error
        print(usage())  # noqa: T201  # command-line output
        return START_FAILED
    _log_warnings(command_line)
    try:
        serve(options)
    except ServingError as error:
        _LOG.critical("Failed to start server. Error: %s", error)
        return START_FAILED
    return 0


def _log_warnings(command_line: CommandLine) -> None:
    for argument in command_line.unknown:
        _LOG.warning("unknown argument: %s", argument)
    if command_line.unknown:
        print(usage(), file=sys.stderr)  # noqa: T201  # like tensorflow_model_server
    for argument in command_line.ignored:
        _LOG.warning("%s has no effect here", argument)
    per_pool = command_line.options.num_tflite_interpreters_per_pool
    if per_pool > 1:
        _LOG.warning(
            "--num_tflite_interpreters_per_pool=%d counts as 1: in tensorflow_model_server more gives wrong answers "
            "for models with several signatures. Set --num_tflite_pools instead",
            per_pool,
        )


def serve(options: Options) -> None:
    """Load the models, answer requests, and return after a signal.

    Raises:
        ServingError: The server cannot start.
    """
    configs = model_configs(options)
    check_ports(options)
    batching = make_batching(options)
    metrics = Metrics()
    page_path = read_page_path(Path(options.monitoring_config_file)) if options.monitoring_config_file else ""
    monitoring = Monitoring(metrics, page_path)
    models = ModelManager(configs, make_loader(options, batching, metrics), manager_config(options))
    shutdown = Shutdown()
    shutdown.watch(models)
    models.start()
    threading.Thread(
        target=import_tensorflow_if_needed,
        args=(configs,),
        kwargs={"prefer_tflite": options.prefer_tflite_model},
        name="import",
        daemon=True,
    ).start()
    if not models.wait_until_available():
        return
    plane = DataPlane(models, check_method_names=options.enable_signature_method_name_check)
    grpc_server, http_server = _open_ports(plane, options, monitoring)
    poller = _poll_config_file(models, options)
    shutdown.wait()
    if poller:
        poller.stop()
    grpc_stopped = grpc_server.stop(DRAIN_S)
    if http_server:
        http_server.stop(DRAIN_S)
    grpc_stopped.wait()
    models.close()
    if batching:
        batching.close()


def _poll_config_file(models: ModelManager, options: Options) -> ConfigFilePoller | None:
    interval_s = options.model_config_file_poll_wait_seconds
    if not options.model_config_file or interval_s <= 0:
        return None
    poller = ConfigFilePoller(Path(options.model_config_file), models.reload, interval_s)
    poller.start()
    return poller


def _grpc_options(options: Options) -> GrpcOptions:
    return GrpcOptions(
        addresses=_grpc_addresses(options),
        threads=options.grpc_max_threads,
        arguments=_channel_arguments(options.grpc_channel_arguments),
        credentials=read_credentials(Path(options.ssl_config_file)) if options.ssl_config_file else None,
        health=options.enable_grpc_healthcheck_service,
        tensor_content=options.enable_serialization_as_tensor_content,
        max_request_bytes=options.max_request_bytes,
    )


def _open_ports(plane: DataPlane, options: Options, monitoring: Monitoring) -> tuple[grpc.Server, HttpServer | None]:
    grpc_options = _grpc_options(options)
    try:
        grpc_server = create_server(plane, grpc_options, monitoring.metrics)
        http_server = None
        if options.rest_api_port:
            app = RestApp(
                plane,
                monitoring,
                timeout_s=options.rest_api_timeout_in_ms / 1000,
                cors=options.rest_api_enable_cors_support,
            )
            http_server = HttpServer(
                app,
                host=options.host,
                port=options.rest_api_port,
                threads=options.rest_api_num_threads,
                max_body_bytes=options.max_request_bytes,
            )
    except (OSError, RuntimeError) as error:  # the port was free when `check_ports` ran
        raise FailedPreconditionError(f"A port cannot be used: {error}") from error
    grpc_server.start()
    _LOG.info("Running gRPC ModelServer at %s ...", " and ".join(grpc_options.addresses))
    if http_server:
        http_server.start()
        _LOG.info("Exporting HTTP/REST API at: %s:%d ...", options.host, http_server.port)
    return grpc_server, http_server


def model_configs(options: Options) -> tuple[ModelConfig, ...]:
    """Return the models that the flags configure.

    Raises:
        ServingError: The flags name no model, or the configuration file is invalid.
    """
    if options.model_config_file:
        configs = read_config_file(Path(options.model_config_file))
    elif options.model_base_path:
        configs = (ModelConfig(options.model_name, read_base_path(options.model_base_path)),)
    else:
        raise InvalidArgumentError(
            "Both server_options.model_base_path and server_options.model_config_file are empty! "
            "Set --model_name and --model_base_path for one model, --model_config_file for several"
        )
    return configs


def check_ports(options: Options) -> None:
    """Check that the ports are free, before the models are loaded.

    Raises:
        FailedPreconditionError: A port is in use.
        InvalidArgumentError: Both APIs have the same port.
    """
    if options.port and options.port == options.rest_api_port:
        raise InvalidArgumentError("--rest_api_port cannot be same as --port. Choose another --rest_api_port")
    for flag, port in (("port", options.port), ("rest_api_port", options.rest_api_port)):
        if not port:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((options.host, port))
            except OSError as error:
                raise FailedPreconditionError(
                    f"port {port} (--{flag}) cannot be used: {error.strerror}. "
                    f"Stop the process that listens there, or choose another --{flag}"
                ) from error


def manager_config(options: Options) -> ManagerConfig:
    """Return how to poll and load models, from the flags."""
    return ManagerConfig(
        poll_interval_s=options.file_system_poll_wait_seconds,
        retry_policy=LoadRetryPolicy(
            options.max_num_load_retries,
            options.load_retry_interval_micros / 1e6,
            after_changes=not options.wait_for_models,
        ),
        load_threads=options.num_load_threads,
        labels_for_unavailable=options.allow_version_labels_for_unavailable_models,
        wait_for_models=options.wait_for_models,
        prefer_tflite=options.prefer_tflite_model,
    )


def make_batching(options: Options) -> Batching | None:
    """Return the batching of the server, with its threads started; None if batching is off.

    Raises:
        ServingError: The parameters are invalid, or batching is off although there is a file with parameters.
    """
    file = options.batching_parameters_file
    if not options.enable_batching:
        if file:
            raise InvalidArgumentError(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
            )
        return None
    parameters = read_parameters(Path(file)) if file else BatchingParameters()
    return Batching(parameters, per_model=options.enable_per_model_batching_parameters)


def make_loader(options: Options, batching: Batching | None, metrics: Metrics) -> Loader:
    """Return the function that loads, wraps and warms up a version, as the flags say."""
    memory = MemoryBudget(options.max_computation_bytes)

    def load(_name: str, _version: int, path: Path) -> Servable:
        with metrics.load(path):
            servable = load_version(path, options, memory)
        if batching:
            servable = batching.wrap(servable, path)
        if options.enable_model_warmup:
            warm_up(servable, path, options.num_request_iterations_for_warmup)
        return servable

    return load


def _grpc_addresses(options: Options) -> list[str]:
    addresses = [f"{options.host}:{options.port}"] if options.port else []
    return [*addresses, f"unix:{options.grpc_socket_path}"] if options.grpc_socket_path else addresses


def _channel_arguments(text: str) -> list[tuple[str, str | int]]:
    pairs = (argument.partition("=") for argument in text.split(",") if argument)
    return [(key, int(value) if value.lstrip("-").isdigit() else value) for key, _, value in pairs]


if __name__ == "__main__":
    status = main(sys.argv[1:])
    logging.shutdown()
    # TensorFlow's threads may still be computing abandoned requests, and would crash while the interpreter shuts down.
    os._exit(status)
