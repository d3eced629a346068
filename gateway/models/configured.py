"""The models offered and the labels of their versions, as the model server's own configuration names them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from google.protobuf import text_format

from tfs_api.protos import model_server_config_pb2

Offers = Mapping[str, tuple[str, ...]]
"""For each model by name, in order, the labels that its versions may have."""

log = structlog.get_logger(__name__)


class OffersError(ValueError):
    """The file does not tell which models are served."""


@dataclass(frozen=True, slots=True)
class _Reading:
    stamp: tuple[int, int]
    offers: Offers


class ModelsConfig:
    """A `models.config` file (text form of tensorflow_serving.ModelServerConfig), read again when it changes.

    Args:
        path: The file that the model server gets as `--model_config_file`.

    Raises:
        OffersError: it cannot be read, is no such text, or lists no model.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._complaint = ""
        self._reading = self._read(self._stamp())

    def offers(self) -> Offers:
        """Give the models listed; while the file is damaged, those it listed before."""
        try:
            stamp = self._stamp()
            if stamp != self._reading.stamp:
                self._reading = self._read(stamp)
            self._complaint = ""
        except OffersError as error:
            # The server keeps serving what it had; say so once per state of the file.
            if self._complaint != str(error):
                self._complaint = str(error)
                log.warning("models_config_unreadable", reason=self._complaint)
        return self._reading.offers

    def _stamp(self) -> tuple[int, int]:
        try:
            stat = self._path.stat()
        except OSError as error:
            raise OffersError(f"{self._path} cannot be read: {error.strerror}") from error
        return stat.st_mtime_ns, stat.st_size

    def _read(self, stamp: tuple[int, int]) -> _Reading:
        config = model_server_config_pb2.ModelServerConfig()
        try:
            text_format.Parse(self._path.read_text(encoding="utf-8"), config)
        except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
            raise OffersError(f"{self._path} is no model server configuration: {error}") from error
        offers = {entry.name: tuple(sorted(entry.version_labels)) for entry in config.model_config_list.config}
        if not offers:
            raise OffersError(f"{self._path} lists no model in model_config_list.")
        return _Reading(stamp, offers)
