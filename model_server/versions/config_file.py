"""Poll the model configuration file and apply it."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from model_server.errors import InvalidArgumentError, ServingError
from model_server.versions.repository import ModelConfig, read_config_file

_LOG = logging.getLogger(__name__)


class ConfigFilePoller:
    """Reads the file at intervals and applies it, changed or not, as tensorflow_model_server does.

    Applying an unchanged file matters: a label whose version was not available yet is assigned on a later poll, and
    a configuration set by HandleReloadConfigRequest is replaced by the file's.
    """

    def __init__(self, file: Path, reload: Callable[[Sequence[ModelConfig]], None], interval_s: float) -> None:
        """Prepare; `start` begins polling.

        Args:
            file: A ModelServerConfig in text format.
            reload: Applies a configuration; raises ServingError.
            interval_s: Time between two polls, in seconds.
        """
        self._file = file
        self._reload = reload
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._last_problem = ""

    def start(self) -> None:
        """Start polling in a thread; the first poll is one interval from now."""
        threading.Thread(target=self._run, name="config-file", daemon=True).start()

    def stop(self) -> None:
        """Stop polling. A reload in progress continues."""
        self._stopping.set()

    def poll(self) -> None:
        """Read and apply the file once. An invalid file, or one without models, is logged once and changes nothing."""
        problem = ""
        try:
            configs = read_config_file(self._file)
            if not configs:  # editors empty a file before they write it
                raise InvalidArgumentError(f"{self._file} lists no models; those that are served stay")
            self._reload(configs)
        except ServingError as error:
            problem = f"Failed to reload from ModelServerConfig file: {error.message}"
        if problem and problem != self._last_problem:
            _LOG.error("%s", problem)
        self._last_problem = problem

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            try:
                self.poll()
            except Exception:  # noqa: BLE001  # the next poll may succeed
                _LOG.exception("Polling %s failed", self._file)
