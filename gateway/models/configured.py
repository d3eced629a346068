"""The models that the gateway offers, with the labels of their versions."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeAlias

from google.protobuf import text_format

from gateway.models.folders import PLATFORM, ModelFolder
from gateway.reloaded_file import ReloadedFile
from tfs_api.protos import model_server_config_pb2

ModelLabels: TypeAlias = Mapping[str, tuple[str, ...]]
"""The labels that the versions of each model may have, by the model's name, in the order of the configuration."""


class ModelEntries(dict[str, tuple[str, ...]]):
    """The labels of each model of a `models.config` file, and the folder of each."""

    folders: Mapping[str, ModelFolder]


class ModelsConfigError(ValueError):
    """A `models.config` file is malformed or lists no models."""


@dataclass(frozen=True, slots=True)
class ConfiguredModels:
    """The models that the operator has configured.

    Attributes:
        current: Returns the models that are configured now; called for every request.
        folder: Returns where the model server looks for a model; None if that is not known.
    """

    current: Callable[[], ModelLabels]
    folder: Callable[[str], ModelFolder | None] = lambda _name: None

    @classmethod
    def from_names(cls, names: Iterable[str]) -> Self:
        """Offer a fixed list of models, without labels."""
        models: ModelLabels = dict.fromkeys(names, ())
        return cls(lambda: models)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Offer the models of a `models.config` file, which is read again when it changes.

        Args:
            path: The file that the model server receives as `--model_config_file`: a
                tensorflow_serving.ModelServerConfig in protobuf text format.

        Raises:
            UnreadableFileError: The file cannot be read.
            ModelsConfigError: The file is malformed or lists no models.
        """
        file = ReloadedFile(path, lambda text: parse_entries(text, path), unreadable_event="models_config_unreadable")

        def folder(name: str) -> ModelFolder | None:
            return file.current().folders.get(name)

        return cls(file.current, folder)


def parse_entries(text: str, path: Path) -> ModelEntries:
    """Return the models that the text of a `models.config` file lists.

    Raises:
        ModelsConfigError: It is malformed or lists no models.
    """
    config = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, config)
    except text_format.ParseError as error:
        raise ModelsConfigError(f"{path} is not a model server configuration: {str(error).rstrip('.')}.") from error
    entries = config.model_config_list.config
    if not entries:
        raise ModelsConfigError(f"{path} lists no models in model_config_list.")
    models = ModelEntries({entry.name: tuple(sorted(entry.version_labels)) for entry in entries})
    models.folders = {
        entry.name: ModelFolder.configured(
            entry.base_path, path, entry.model_version_policy.specific.versions, _platform(entry)
        )
        for entry in entries
    }
    return models


def _platform(entry: model_server_config_pb2.ModelConfig) -> str:
    """Return the platform of an entry, which may name it by the field `model_type` of old configurations."""
    is_tensorflow = entry.model_type == model_server_config_pb2.TENSORFLOW
    return entry.model_platform or (PLATFORM if is_tensorflow else "")
