"""Command-line flags of tensorflow_model_server 2.20."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from model_server.memory import MAX_COMPUTATION_BYTES, MAX_REQUEST_BYTES


def _flag(default: bool | float | str, text: str) -> Any:  # noqa: FBT001  # like dataclasses.field
    return field(default=default, metadata={"help": text})


def available_cpus() -> int:
    """Return how many CPUs this process may use, at least 1."""
    if sys.platform == "linux":  # a container or taskset may allow fewer CPUs than the machine has
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Flags that have an effect.

    Names, meanings and defaults are tensorflow_model_server's; `host`, `max_request_bytes`, `max_computation_bytes` and
    `wait_for_models` are our own.
    """

    port: int = _flag(8500, "TCP port of the gRPC API; 0 disables it")
    grpc_socket_path: str = _flag("", "Unix socket of the gRPC API")
    rest_api_port: int = _flag(0, "TCP port of the REST API; 0 disables it")
    rest_api_num_threads: int = _flag(4 * available_cpus(), "maximum number of concurrent REST requests")
    rest_api_timeout_in_ms: int = _flag(30_000, "time limit of a REST request, in milliseconds")
    model_name: str = _flag("default", "name of the model at --model_base_path")
    model_base_path: str = _flag("", "directory with the numbered versions of a single model")
    model_config_file: str = _flag("", "file with a ModelServerConfig in text format, for several models")
    model_config_file_poll_wait_seconds: int = _flag(
        0, "poll interval of --model_config_file in seconds; 0 reads it once"
    )
    file_system_poll_wait_seconds: int = _flag(
        1, "poll interval for new versions in seconds; 0 looks for them once, -1 never"
    )
    num_load_threads: int = _flag(0, "versions to load at the same time after start-up; 0 counts as 1")
    max_num_load_retries: int = _flag(5, "number of retries of a version that fails to load")
    load_retry_interval_micros: int = _flag(60_000_000, "time between two attempts to load, in microseconds")
    grpc_max_threads: int = _flag(4 * available_cpus(), "size of the gRPC thread pool; one thread fewer may be busy")
    grpc_channel_arguments: str = _flag("", "comma-separated key=value list of gRPC channel arguments")
    tensorflow_session_parallelism: int = _flag(0, "threads in each of TensorFlow's two pools; 0 for the defaults")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads per operation; 0 for half of the CPUs")
    tensorflow_inter_op_parallelism: int = _flag(0, "operations to run at the same time; 0 for TensorFlow's default")
    enable_batching: bool = _flag(default=False, text="combine calls of the same signature into batches")
    batching_parameters_file: str = _flag("", "file with BatchingParameters in text format")
    enable_per_model_batching_parameters: bool = _flag(
        default=False,
        text="read them from batching_params.pbtxt in each version's directory; versions without it do not batch",
    )
    enable_model_warmup: bool = _flag(default=True, text="replay a version's warm-up requests before it serves")
    num_request_iterations_for_warmup: int = _flag(1, "how often to replay each warm-up request")
    prefer_tflite_model: bool = _flag(
        default=False, text="serve model.tflite by TensorFlow Lite where a version's directory has it"
    )
    num_tflite_pools: int = _flag(
        available_cpus(), "TensorFlow Lite interpreters of a model, each with one thread; less than 1 counts as 1"
    )
    num_tflite_interpreters_per_pool: int = _flag(1, "more than 1 counts as 1 here, with a warning")
    saved_model_tags: str = _flag("serve", "comma-separated tags of the graph to load from a SavedModel")
    allow_version_labels_for_unavailable_models: bool = _flag(
        default=False, text="accept labels of versions that are not loaded yet"
    )
    enable_signature_method_name_check: bool = _flag(
        default=False, text="refuse a signature whose method name does not match the called method"
    )
    enable_serialization_as_tensor_content: bool = _flag(
        default=False, text="return tensors over gRPC in tensor_content instead of typed fields"
    )
    rest_api_enable_cors_support: bool = _flag(
        default=False, text="allow pages of other origins to read REST responses"
    )
    enable_grpc_healthcheck_service: bool = _flag(default=False, text="offer Check of grpc.health.v1")
    ssl_config_file: str = _flag("", "file with an SSLConfig in text format, for TLS on the gRPC port")
    monitoring_config_file: str = _flag("", "file with a MonitoringConfig in text format, for a metrics page")
    version: bool = _flag(default=False, text="print the version and exit")
    host: str = _flag("0.0.0.0", "IPv4 address of both ports; 127.0.0.1 for this machine only")  # noqa: S104  # like tensorflow_model_server; required in a container
    max_request_bytes: int = _flag(
        MAX_REQUEST_BYTES, "size of a request's message or body, and of what it stands for once decoded"
    )
    max_computation_bytes: int = _flag(
        MAX_COMPUTATION_BYTES, "memory for the intermediate results of all requests at the same time"
    )
    wait_for_models: bool = _flag(
        default=True,
        text="let a model that is missing or cannot be loaded hold up the start and changes of the configuration; "
        "false: serve the other models, and try a failed version again once its files change",
    )


WITHOUT_EFFECT = frozenset({
    "enable_profiler",
    "enforce_session_run_timeout",
    "flush_filesystem_caches",
    "mixed_precision",
    "num_unload_threads",
    "per_process_gpu_memory_fraction",
    "platform_config_file",
    "remove_unused_fields_from_bundle_metagraph",
    "skip_initialize_tpu",
    "tensorflow_session_config_file",
    "thread_pool_factory_config_file",
    "use_alts_credentials",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
})  # fmt: skip
"""Flags of tensorflow_model_server that are accepted but have no effect here."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A parsed command line."""

    options: Options
    ignored: tuple[str, ...] = ()
    """Arguments of tensorflow_model_server that have no effect here."""
    unknown: tuple[str, ...] = ()
    """Arguments that tensorflow_model_server does not accept either."""


class FlagError(ValueError):
    """The value of a flag has the wrong type."""


def parse(arguments: Sequence[str]) -> CommandLine:
    """Parse `--flag=value`, and `--flag` for a boolean, like tensorflow_model_server.

    Raises:
        FlagError: The value of a flag has the wrong type.
    """
    defaults = {option.name: getattr(Options(), option.name) for option in fields(Options)}
    values: dict[str, Any] = {}
    ignored, unknown = [], []
    for argument in arguments:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            unknown.append(argument)
        elif name in WITHOUT_EFFECT:
            ignored.append(argument)
        elif name in defaults and (equals or isinstance(defaults[name], bool)):
            values[name] = _parse_value(name, value if equals else "true", type(defaults[name]))
        else:
            unknown.append(argument)
    return CommandLine(Options(**values), tuple(ignored), tuple(unknown))


def usage() -> str:
    """Describe the flags."""
    lines = ["usage: python -m model_server", "Flags:"]
    for option in fields(Options):
        default = getattr(Options(), option.name)
        lines.append(f"\t--{option.name}={default!r:<24}\t{type(default).__name__}\t{option.metadata['help']}")
    lines.append("Accepted without effect: " + ", ".join(f"--{name}" for name in sorted(WITHOUT_EFFECT)))
    return "\n".join(lines)


def _parse_value(name: str, text: str, kind: type) -> bool | int | str:
    if kind is str:
        return text
    if kind is bool and text.lower() in ("true", "1", "false", "0"):
        return text.lower() in ("true", "1")
    try:
        if kind is int:
            return int(text)
    except ValueError:
        pass
    raise FlagError(f"Couldn't interpret value {text} for flag {name}. Expected: {kind.__name__}")
