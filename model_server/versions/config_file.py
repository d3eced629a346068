"""Looking again and again at the configuration file, and having its models served."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from model_server.errors import ServingError
from model_server.versions.repository import ModelConfig, read_config_file

_LOG = logging.getLogger(__name__)


class ConfigFilePoller:
    """Reads the file at intervals and hands on what it says, changed or not, as tensorflow_model_server does.

    A label that could not be given yet is so given later, and what a call changed meanwhile is changed back.
    """

    def __init__(self, file: Path, reload: Callable[[Sequence[ModelConfig]], None], interval_s: float) -> None:
        """Prepare; `start` begins.

        Args:
            file: a ModelServerConfig in text format.
            reload: takes the configuration; raises ServingError.
            interval_s: time between two looks.
        """
        self._file = file
        self._reload = reload
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._told = ""

    def start(self) -> None:
        """Begin to look, one interval from now."""
        threading.Thread(target=self._poll, name="config-file", daemon=True).start()

    def stop(self) -> None:
        """End it; a reload in progress goes on."""
        self._stopping.set()

    def look(self) -> None:
        """Look once. A file that cannot be used is told once and leaves everything as it is."""
        problem = ""
        try:
            self._reload(read_config_file(self._file))
        except ServingError as error:
            problem = f"Failed to reload from ModelServerConfig file: {error.message}"
        if problem and problem != self._told:
            _LOG.error("%s", problem)
        self._told = problem

    def _poll(self) -> None:
        while not self._stopping.wait(self._interval_s):
            try:
                self.look()
            except Exception:  # noqa: BLE001  # the next look may succeed
                _LOG.exception("Looking at %s failed", self._file)
