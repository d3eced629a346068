"""Command-line flags, those of tensorflow_model_server 2.20."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any


def _flag(default: bool | float | str, text: str) -> Any:  # noqa: FBT001  # as dataclasses.field
    return field(default=default, metadata={"help": text})


def _four_per_cpu() -> int:
    if sys.platform == "linux":  # where a container or taskset may allow fewer than there are
        return 4 * len(os.sched_getaffinity(0))
    return 4 * (os.cpu_count() or 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The flags that have an effect; names, meanings and defaults are tensorflow_model_server's."""

    port: int = _flag(8500, "TCP port of the gRPC API; 0 for none")
    grpc_socket_path: str = _flag("", "Unix socket of the gRPC API")
    rest_api_port: int = _flag(0, "TCP port of the REST API; 0 for none")
    rest_api_num_threads: int = _flag(_four_per_cpu(), "REST requests that are worked on at once")
    rest_api_timeout_in_ms: int = _flag(30_000, "time limit of a REST request")
    model_name: str = _flag("default", "name of the model at --model_base_path")
    model_base_path: str = _flag("", "directory with the numbered versions of a single model")
    model_config_file: str = _flag("", "file with a ModelServerConfig in text format, for several models")
    model_config_file_poll_wait_seconds: int = _flag(0, "time between two looks at model_config_file; 0 for one")
    file_system_poll_wait_seconds: int = _flag(1, "time between two looks for new versions; 0 for one, -1 for none")
    num_load_threads: int = _flag(0, "versions that are loaded at the same time after the start; 0 counts as 1")
    max_num_load_retries: int = _flag(5, "how often to try again what cannot be loaded")
    load_retry_interval_micros: int = _flag(60_000_000, "time from one try to the next")
    grpc_max_threads: int = _flag(_four_per_cpu(), "gRPC calls at once, plus one")
    grpc_channel_arguments: str = _flag("", "comma-separated key=value list of gRPC channel arguments")
    tensorflow_session_parallelism: int = _flag(0, "threads of TensorFlow's two pools; 0 for automatic")
    tensorflow_intra_op_parallelism: int = _flag(0, "threads of one operation; 0 for half of the CPUs")
    tensorflow_inter_op_parallelism: int = _flag(0, "operations at once; 0 for automatic")
    enable_batching: bool = _flag(default=False, text="compute calls of the same signature together")
    batching_parameters_file: str = _flag("", "file with BatchingParameters in text format")
    enable_per_model_batching_parameters: bool = _flag(
        default=False, text="take them from batching_params.pbtxt in each version's directory; without it, do not batch"
    )
    enable_model_warmup: bool = _flag(default=True, text="play a version's warm-up requests before it serves")
    num_request_iterations_for_warmup: int = _flag(1, "how often to play each of them")
    saved_model_tags: str = _flag("serve", "comma-separated tags of the graph to load from a SavedModel")
    allow_version_labels_for_unavailable_models: bool = _flag(
        default=False, text="accept labels of versions that are not loaded yet"
    )
    enable_signature_method_name_check: bool = _flag(
        default=False, text="refuse a signature that is not named as of the method it is asked by"
    )
    enable_serialization_as_tensor_content: bool = _flag(
        default=False, text="answer with tensor_content, and not with typed fields, over gRPC"
    )
    rest_api_enable_cors_support: bool = _flag(default=False, text="let pages of other origins read REST answers")
    enable_grpc_healthcheck_service: bool = _flag(default=False, text="offer Check of grpc.health.v1")
    ssl_config_file: str = _flag("", "file with an SSLConfig in text format, for TLS on the gRPC port")
    monitoring_config_file: str = _flag("", "file with a MonitoringConfig in text format, for a page of counts")
    version: bool = _flag(default=False, text="print the version and exit")


WITHOUT_EFFECT = frozenset({
    "enable_profiler",
    "enforce_session_run_timeout",
    "flush_filesystem_caches",
    "mixed_precision",
    "num_tflite_interpreters_per_pool",
    "num_tflite_pools",
    "num_unload_threads",
    "per_process_gpu_memory_fraction",
    "platform_config_file",
    "prefer_tflite_model",
    "remove_unused_fields_from_bundle_metagraph",
    "skip_initialize_tpu",
    "tensorflow_session_config_file",
    "thread_pool_factory_config_file",
    "use_alts_credentials",
    "xla_cpu_compilation_enabled",
    "xla_gpu_compilation_enabled",
})  # fmt: skip
"""Flags of tensorflow_model_server that are accepted and change nothing here."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What was read from the command line."""

    options: Options
    ignored: tuple[str, ...] = ()
    """Arguments of tensorflow_model_server that have no effect here."""
    unknown: tuple[str, ...] = ()
    """Arguments that tensorflow_model_server does not know either."""


class FlagError(ValueError):
    """A flag's value is not of its type."""


def parse(arguments: Sequence[str]) -> CommandLine:
    """Read `--flag=value`, and `--flag` for a boolean, as tensorflow_model_server reads them.

    Raises:
        FlagError: a value is not of the flag's type.
    """
    defaults = Options()
    known = {option.name: getattr(defaults, option.name) for option in fields(Options)}
    given: dict[str, Any] = {}
    ignored, unknown = [], []
    for argument in arguments:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            unknown.append(argument)
        elif name in WITHOUT_EFFECT:
            ignored.append(argument)
        elif name in known and (equals or isinstance(known[name], bool)):
            given[name] = _value(name, value if equals else "true", type(known[name]))
        else:
            unknown.append(argument)
    return CommandLine(Options(**given), tuple(ignored), tuple(unknown))


def usage() -> str:
    """Describe the flags."""
    lines = ["usage: python -m model_server", "Flags:"]
    for option in fields(Options):
        default = getattr(Options(), option.name)
        lines.append(f"\t--{option.name}={default!r:<24}\t{type(default).__name__}\t{option.metadata['help']}")
    lines.append("Accepted without effect: " + ", ".join(f"--{name}" for name in sorted(WITHOUT_EFFECT)))
    return "\n".join(lines)


def _value(name: str, text: str, kind: type) -> bool | int | str:
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
