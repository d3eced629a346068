"""Which models there should be, and which of their versions are on disk and complete.

The rules are those of TensorFlow Serving's FileSystemStoragePathSource: each entry of a model's base path
whose name is a number is a version, whatever it is, and a policy picks from them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from model_server import text_proto
from model_server.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from tfs_api.protos import model_server_config_pb2

_MAX_VERSION = 2**63 - 1
"""Versions travel as int64."""


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
    """One model that the server is told to serve."""

    name: str
    base_path: Path
    policy: Policy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)
    """Version numbers by label."""


def read_config_file(file: Path) -> tuple[ModelConfig, ...]:
    """Read a ModelServerConfig in protobuf text format.

    A relative base path counts from the working directory. (tensorflow_model_server refuses it.)

    Raises:
        NotFoundError: there is no such file.
        InvalidArgumentError: it is not a ModelServerConfig, or names a model twice or without a platform.
    """
    return read_config(text_proto.read_file(file, model_server_config_pb2.ModelServerConfig()))


def read_config(message: Any) -> tuple[ModelConfig, ...]:  # generated messages have no types
    """Read a ModelServerConfig message.

    Raises:
        InvalidArgumentError: it names a model twice, without a platform or with one other than TensorFlow.
    """
    if message.WhichOneof("config") == "custom_model_config":
        raise InvalidArgumentError("custom_model_config is not supported; expected a model_config_list")
    names: set[str] = set()
    for model in message.model_config_list.config:
        if model.name in names:
            raise InvalidArgumentError(f"Illegal to list model {model.name} multiple times in config list")
        names.add(model.name)
    return tuple(map(_model_config, message.model_config_list.config))


def read_reload_request(message: Any) -> tuple[ModelConfig, ...]:  # generated messages have no types
    """Read the ModelServerConfig of a ReloadConfigRequest, whose rules are stricter.

    Raises:
        InvalidArgumentError: as `read_config`, and where there is no model_config_list, or a relative base path in it.
    """
    if message.WhichOneof("config") != "model_config_list":
        raise InvalidArgumentError(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
            "supported"
        )
    for model in message.model_config_list.config:
        if not Path(model.base_path).is_absolute():
            raise InvalidArgumentError(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )
    return read_config(message)


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
        base_path=Path(model.base_path),
        policy=_policy(model.model_version_policy),
        labels=dict(model.version_labels),
    )


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


def scan(base_path: Path) -> dict[int, Path]:
    """Return the versions below a base path, in ascending order.

    Of several names for one number, as `2` and `002`, the shortest counts.

    Raises:
        NotFoundError: the base path does not exist.
        FailedPreconditionError: the base path cannot be read.
    """
    try:
        names = [entry.name for entry in base_path.iterdir()]
    except FileNotFoundError:
        raise NotFoundError(f"{base_path} not found") from None
    except OSError as error:
        raise FailedPreconditionError(f"{base_path}; {error.strerror}") from error
    numbers = [name for name in names if name.isascii() and name.strip().isdigit()]
    versions = {int(name): base_path / name for name in sorted(numbers, key=len, reverse=True)}
    return {version: versions[version] for version in sorted(versions) if version <= _MAX_VERSION}


Fingerprint: TypeAlias = frozenset[tuple[str, int, int]]
"""Path, size and time of last change of each file of a version."""


def fingerprint(path: Path) -> Fingerprint:
    """Return what changes when a version's files are still being written."""
    files = [path] if path.is_file() else path.rglob("*")
    stats = []
    for file in files:
        try:
            stat = file.stat()
        except FileNotFoundError:  # renamed or removed since it was listed
            continue
        stats.append((str(file.relative_to(path)), stat.st_size, stat.st_ctime_ns))
    return frozenset(stats)


def missing_part(path: Path) -> str:
    """Name a file that belongs to a version's SavedModel and is not there; empty if none is missing.

    These are saved_model.pb and, where there is any part of the variables, all of them: the file names tell
    how many there are. A path that is no directory misses nothing; there is nothing to wait for.
    """
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        return "saved_model.pb"
    parts = {file.name for file in (path / "variables").glob("variables.*")}
    if not parts:
        return ""
    if "variables.index" not in parts:
        return "variables/variables.index"
    shards = [name for name in parts if name.startswith("variables.data-")]
    count = int(shards[0].rpartition("-")[2]) if shards else 1
    expected = {f"variables.data-{shard:05d}-of-{count:05d}" for shard in range(count)}
    return next((f"variables/{name}" for name in sorted(expected - parts)), "")
