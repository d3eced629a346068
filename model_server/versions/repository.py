"""Which models to serve, and which of their versions are on disk and complete.

The rules are those of TensorFlow Serving's FileSystemStoragePathSource: each entry of a model's base path whose name
is a number is a version, whether directory, file or link, and a policy chooses among them.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from model_server.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from model_server.text_format import read_message
from tfs_api.base_paths import local_folder
from tfs_api.protos import model_server_config_pb2

_LOG = logging.getLogger(__name__)

_MAX_VERSION = 2**63 - 1
"""Versions are int64 in the protos."""
MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
"""Names of the file that holds a SavedModel's graphs; the first that exists is read."""
TFLITE_FILE = "model.tflite"
"""Name of the TensorFlow Lite form of a version."""
_MAX_MODELS = 1000
"""Each model has a thread that watches its directory."""


@dataclass(frozen=True, slots=True)
class Latest:
    """Serve the highest version numbers."""

    count: int = 1

    def choose(self, versions: frozenset[int]) -> frozenset[int]:
        """Return the versions to serve."""
        return frozenset(sorted(versions)[-max(self.count, 1) :])


@dataclass(frozen=True, slots=True)
class All:
    """Serve all versions."""

    def choose(self, versions: frozenset[int]) -> frozenset[int]:
        """Return the versions to serve."""
        return versions


@dataclass(frozen=True, slots=True)
class Specific:
    """Serve these versions."""

    versions: frozenset[int]

    def choose(self, versions: frozenset[int]) -> frozenset[int]:
        """Return the versions to serve."""
        return versions & self.versions


Policy: TypeAlias = Latest | All | Specific


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The configuration of one model."""

    name: str
    base_path: Path | str
    """The folder with the versions; the URI if it is on another file system, which cannot be read."""
    policy: Policy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)
    """Version by label."""


def read_config_file(file: Path) -> tuple[ModelConfig, ...]:
    """Read a ModelServerConfig in protobuf text format.

    A relative base path is relative to the working directory. (tensorflow_model_server refuses it.)

    Raises:
        NotFoundError: The file cannot be read.
        InvalidArgumentError: It is not a ModelServerConfig, or `read_config` refuses it.
    """
    return read_config(read_message(file, model_server_config_pb2.ModelServerConfig()))


def read_config(message: Any) -> tuple[ModelConfig, ...]:  # generated messages have no types
    """Convert a ModelServerConfig message.

    Raises:
        InvalidArgumentError: It lists too many models, one twice, without a platform, or with a platform other than
            `tensorflow`.
    """
    if message.WhichOneof("config") == "custom_model_config":
        raise InvalidArgumentError("custom_model_config is not supported; expected a model_config_list")
    count = len(message.model_config_list.config)
    if count > _MAX_MODELS:
        raise InvalidArgumentError(f"The configuration lists {count} models; at most {_MAX_MODELS} are accepted")
    names: set[str] = set()
    for model in message.model_config_list.config:
        if model.name in names:
            raise InvalidArgumentError(f"Illegal to list model {model.name} multiple times in config list")
        names.add(model.name)
    return tuple(map(_model_config, message.model_config_list.config))


def read_reload_request(message: Any) -> tuple[ModelConfig, ...]:  # generated messages have no types
    """Convert the ModelServerConfig of a ReloadConfigRequest, for which the rules are stricter.

    Raises:
        InvalidArgumentError: As in `read_config`; also without a model_config_list, or with a relative base path.
    """
    try:
        return _read_reload_request(message)
    finally:
        _warn_of_blocked_reloads(message)


def _read_reload_request(message: Any) -> tuple[ModelConfig, ...]:  # generated messages have no types
    if message.WhichOneof("config") != "model_config_list":
        raise InvalidArgumentError(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            "supported"
        )
    for model in message.model_config_list.config:
        folder = local_folder(model.base_path)
        if folder is not None and not folder.is_absolute():
            raise InvalidArgumentError(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )
    return read_config(message)


def _warn_of_blocked_reloads(message: Any) -> None:  # generated messages have no types
    """Log what stops tensorflow_model_server from ever applying a configuration again; seen on 2.20.0."""
    for model in message.model_config_list.config:
        if not model.model_platform:
            problem = "has no model_platform"
        elif local_folder(model.base_path) is None:
            problem = f"has the base path {model.base_path}, which the released server cannot read"
        else:
            continue
        _LOG.warning(
            "tensorflow_model_server would apply no further configuration after this one, until it is restarted: "
            "model %s %s",
            model.name,
            problem,
        )


def _model_config(model: Any) -> ModelConfig:  # generated messages have no types
    if not model.model_platform:
        raise InvalidArgumentError(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {model.name}"
        )
    if model.model_platform != "tensorflow":
        raise InvalidArgumentError(f"Model {model.name} requests unsupported platform {model.model_platform}")
    return ModelConfig(
        name=model.name,
        base_path=read_base_path(model.base_path),
        policy=_policy(model.model_version_policy),
        labels=dict(model.version_labels),
    )


def read_base_path(text: str) -> Path | str:
    """Convert the base path of a model; see `ModelConfig.base_path`."""
    folder = local_folder(text)
    return text if folder is None else folder


def require_local(base_path: Path | str) -> Path:
    """Return a base path if it is local.

    Raises:
        InvalidArgumentError: It is on another file system.
    """
    if isinstance(base_path, str):
        raise InvalidArgumentError(
            f"Base path {base_path} is on another file system. Only local folders are read: copy the model to one, and "
            "give its path or a URI such as file:///models/digits"
        )
    return base_path


def _policy(policy: Any) -> Policy:  # generated messages have no types
    match policy.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            return Specific(frozenset(policy.specific.versions))
        case "latest":
            return Latest(policy.latest.num_versions)
        case _:
            return Latest()


def scan(base_path: Path | str) -> dict[int, Path]:
    """Return the versions below a base path, in ascending order.

    If several names mean one number, such as `2` and `002`, the shortest is used.

    Raises:
        NotFoundError: The base path does not exist.
        FailedPreconditionError: The base path cannot be read.
        InvalidArgumentError: The base path is on another file system.
    """
    folder = require_local(base_path)
    try:
        names = [entry.name for entry in folder.iterdir()]
    except FileNotFoundError:
        raise NotFoundError(f"{folder} not found") from None
    except OSError as error:
        raise FailedPreconditionError(f"{folder}; {error.strerror}") from error
    numbers = [name for name in names if name.isascii() and name.strip().isdigit()]
    versions = {int(name): folder / name for name in sorted(numbers, key=len, reverse=True)}
    return {version: versions[version] for version in sorted(versions) if version <= _MAX_VERSION}


Fingerprint: TypeAlias = frozenset[tuple[str, int, int]]
"""Path, size and change time (ctime, in ns) of each file of a version."""


def fingerprint(path: Path) -> Fingerprint:
    """Return a value that changes while a version's files are being written."""
    files = [path] if path.is_file() else path.rglob("*")
    stats = []
    for file in files:
        try:
            stat = file.stat()
        except FileNotFoundError:  # renamed or removed after it was listed
            continue
        stats.append((str(file.relative_to(path)), stat.st_size, stat.st_ctime_ns))
    return frozenset(stats)


SETTLED_AGE_S = 10.0
"""Age of a version's newest file from which on it is not being copied any more."""


def has_settled(files: Fingerprint) -> bool:
    """Return whether all files of a version were last changed long before now, by this machine's clock."""
    newest_ns = max((changed_ns for _, _, changed_ns in files), default=None)
    return newest_ns is not None and time.time_ns() - newest_ns > SETTLED_AGE_S * 1e9


def is_served_by_tflite(path: Path, *, prefer_tflite: bool) -> bool:
    """Return whether a version is served from its `model.tflite`, like tensorflow_model_server with the same flag."""
    return prefer_tflite and (path / TFLITE_FILE).is_file()


def missing_part(path: Path, *, prefer_tflite: bool = False) -> str:
    """Return which file of a version is missing, as text; empty if the form that is served is complete.

    Required of a SavedModel are saved_model.pb or saved_model.pbtxt and, if any file of the variables exists, all of
    them: their names contain the number of shards. A path that is not a directory counts as complete, as waiting would
    not change it.

    Args:
        path: Directory of the version.
        prefer_tflite: Whether `model.tflite`, if it is there, is served instead of the SavedModel.
    """
    if is_served_by_tflite(path, prefer_tflite=prefer_tflite):
        return ""
    if path.is_dir() and not any((path / name).is_file() for name in MODEL_FILES):
        return f"{TFLITE_FILE} or {MODEL_FILES[0]}" if prefer_tflite else MODEL_FILES[0]
    parts = {file.name for file in (path / "variables").glob("variables.*")}
    if not parts:
        return ""
    if "variables.index" not in parts:
        return "variables/variables.index"
    shards = [name for name in parts if name.startswith("variables.data-")]
    count = int(shards[0].rpartition("-")[2]) if shards else 1
    expected = {f"variables.data-{shard:05d}-of-{count:05d}" for shard in range(count)}
    return next((f"variables/{name}" for name in sorted(expected - parts)), "")
