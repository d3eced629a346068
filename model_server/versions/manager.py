"""All models of the server: a watcher thread for each, version labels, and configuration changes."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from model_server.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    ServingError,
)
from model_server.servable import Servable
from model_server.versions.lifecycle import (
    NO_RETRIES,
    Loader,
    LoadRetryPolicy,
    Model,
    State,
    VersionStatus,
    servable_not_found,
)
from model_server.versions.repository import ModelConfig, require_local

_LOG = logging.getLogger(__name__)

_LOADING_POLL_INTERVAL_S = 1.0
"""Poll interval while a version is being loaded, if polling is off."""
_INITIAL_LOAD_THREADS = 8
"""Concurrent loads at start-up. tensorflow_model_server uses four per CPU, regardless of num_load_threads."""


@dataclass(frozen=True, slots=True)
class ManagerConfig:
    """How models are polled, loaded and labelled."""

    poll_interval_s: float = 1.0
    """Poll interval of a base path in seconds; 0 polls once, a negative value never."""
    retry_policy: LoadRetryPolicy = NO_RETRIES
    load_threads: int = 0
    """Versions loaded at the same time after start-up; 0 counts as 1."""
    labels_for_unavailable: bool = False
    """Whether a new label may be assigned to a version that is not loaded."""
    wait_for_models: bool = True
    """Whether a model that is missing or cannot be loaded holds up the start and later changes, and one on another file
    system is refused."""
    prefer_tflite: bool = False
    """Whether a version with `model.tflite` is served from that file."""


class ModelManager:
    """Keeps the models that should be served, by name, and applies changes of the configuration."""

    def __init__(self, configs: Sequence[ModelConfig], load: Loader, config: ManagerConfig) -> None:
        """Prepare the models; `start` begins watching them.

        Args:
            configs: What to serve.
            load: Makes a Servable from a version's directory.
            config: How to poll, load and label.

        Raises:
            FailedPreconditionError: There are labels, and `config` does not allow them before versions are loaded.
            InvalidArgumentError: The base path of a model that `config` waits for is on another file system.
        """
        self._load = load
        self._config = config
        self._load_slots = threading.BoundedSemaphore(_INITIAL_LOAD_THREADS)
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._models: dict[str, Model] = {}
        self._labels: Mapping[str, Mapping[str, int]] = {}
        self._check_base_paths(configs)
        self._labels = self._assigned_labels(configs)
        self._new_models = [self._add(config) for config in configs]

    def start(self) -> None:
        """Start watching for versions and loading them."""
        for model in self._new_models:
            self._start_watcher(model)

    def wait_until_available(self) -> bool:
        """Wait without a limit until each model has loaded all its versions.

        Without `wait_for_models`, a first attempt at each version is enough, and failures are only logged.

        Returns:
            False if `stop` was called in the meantime.

        Raises:
            ServingError: Versions failed to load.
        """
        with self._changed:
            self._wait_until_settled(None)
        if self._stopping.is_set():
            return False
        if self._config.wait_for_models:
            self._raise_failures("servable(s)")
        self._load_slots = threading.BoundedSemaphore(max(self._config.load_threads, 1))
        return True

    def reload(self, configs: Sequence[ModelConfig], timeout_s: float | None = None) -> None:
        """Apply a new configuration, and wait until models that are new in it are loaded.

        A reload waits for the previous one, even if its caller has given up: tensorflow_model_server keeps to a
        configuration until all its models are available.

        Args:
            configs: What to serve from now on.
            timeout_s: How long to wait, in seconds; None for no limit.

        Raises:
            DeadlineExceededError: The time is up. Loads that have started continue.
            FailedPreconditionError: A label cannot be assigned; nothing has changed.
            InvalidArgumentError: The base path of a model to wait for is on another file system; nothing has changed.
            ServingError: A new model failed to load.
        """
        self._check_base_paths(configs)
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            self._wait_until_settled(end_s)
            labels = self._assigned_labels(configs)
            self._configure(configs)
            self._labels = labels
            self._changed.notify_all()
            self._wait_until_settled(end_s)
        self._raise_failures("model(s)")

    def lease(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> AbstractContextManager[tuple[int, Servable]]:
        """Hold a version of a model while a request runs on it: `version`, the label's, or the latest.

        Raises:
            InvalidArgumentError: The model does not have this label.
            NotFoundError: The model or the version is not served.
        """
        if label is not None:
            version = self._labels.get(name, {}).get(label)
            if version is None:
                raise InvalidArgumentError(f"Unrecognized servable version label: {label}")
        model = self._models.get(name)
        if model is None:
            raise servable_not_found(name, version)
        return model.lease(version)

    def statuses(self, name: str, version: int | None = None) -> list[VersionStatus]:
        """Return the status of one version of a model, or of all that exist or once existed, the newest first.

        Raises:
            NotFoundError: The model never had a version, or never had this one.
        """
        model = self._models.get(name)
        statuses = [s for s in model.statuses() if version in (None, s.version)] if model else []
        if not statuses:
            subject = "any versions" if version is None else f"version {version}"
            raise NotFoundError(f"Could not find {subject} of model {name}")
        return statuses

    def stop(self) -> None:
        """Stop watching for versions. Loaded versions stay loaded until `close`."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()

    def close(self) -> None:
        """Unload everything without waiting for requests in flight."""
        self.stop()
        for model in list(self._models.values()):
            model.close()

    def _add(self, config: ModelConfig) -> Model:
        model = Model(config, self._load_in_slot, self._config.retry_policy, prefer_tflite=self._config.prefer_tflite)
        self._models[config.name] = model
        return model

    def _configure(self, configs: Sequence[ModelConfig]) -> None:
        serving = {name for name, model in self._models.items() if model.is_configured}
        for config in configs:
            model = self._models.get(config.name)
            if model is None:
                self._start_watcher(self._add(config))
            else:
                model.configure(config)
        for name in serving - {config.name for config in configs}:
            self._models[name].configure(None)
        self._new_models = [self._models[config.name] for config in configs if config.name not in serving]

    def _check_base_paths(self, configs: Sequence[ModelConfig]) -> None:
        if self._config.wait_for_models:
            for config in configs:
                require_local(config.base_path)

    def _assigned_labels(self, configs: Sequence[ModelConfig]) -> dict[str, Mapping[str, int]]:
        """Return the labels of the configurations, by model.

        Raises:
            FailedPreconditionError: The version of a label is not available. With `labels_for_unavailable` this is
                an error only if the label is in use for another version.
        """
        for config in configs:
            for label, version in config.labels.items():
                is_in_use_elsewhere = self._labels.get(config.name, {}).get(label, version) != version
                may_wait = self._config.labels_for_unavailable and not is_in_use_elsewhere
                if not may_wait and not self._is_available(config.name, version):
                    raise FailedPreconditionError(
                        f"Request to assign label to version {version} of model {config.name}, "
                        "which is not currently available for inference"
                    )
        return {config.name: config.labels for config in configs}

    def _is_available(self, name: str, version: int) -> bool:
        model = self._models.get(name)
        statuses = model.statuses() if model else []
        return any(s.version == version and s.state is State.AVAILABLE for s in statuses)

    def _wait_until_settled(self, end_s: float | None) -> None:
        """Wait, with the lock held, for the models that were added last."""
        if self._config.wait_for_models:
            self._wait(lambda: all(model.is_settled for model in self._new_models), end_s)
        else:
            self._wait(lambda: all(model.is_attempted for model in self._new_models), end_s)

    def _wait(self, condition: Callable[[], bool], end_s: float | None) -> None:
        timeout_s = None if end_s is None else end_s - time.monotonic()
        if not self._changed.wait_for(lambda: self._stopping.is_set() or condition(), timeout_s):
            raise DeadlineExceededError("Deadline Exceeded")

    def _raise_failures(self, noun: str) -> None:
        failures = [
            f"{{{{name: {model.name} version: {status.version}}} due to error: {status.code.name}: {status.message}}}, "
            for model in self._new_models
            for status in model.failures()
        ]
        if failures:
            raise ServingError(f"{len(failures)} {noun} did not become available: {{{''.join(failures)}}}")

    def _load_in_slot(self, name: str, version: int, path: Path) -> Servable:
        with self._load_slots:
            return self._load(name, version, path)

    def _start_watcher(self, model: Model) -> None:
        if self._config.poll_interval_s >= 0:
            threading.Thread(target=self._watch, args=(model,), name=f"model-{model.name}", daemon=True).start()

    def _watch(self, model: Model) -> None:
        while not self._stopping.is_set():
            revision = model.revision
            try:
                model.reconcile()
            except Exception:  # noqa: BLE001  # the next poll may succeed
                _LOG.exception("Polling model %s failed", model.name)
            with self._changed:
                self._changed.notify_all()
                self._changed.wait_for(partial(self._should_poll, model, revision), self._pause_s(model))

    def _should_poll(self, model: Model, revision: int) -> bool:
        return self._stopping.is_set() or model.revision != revision

    def _pause_s(self, model: Model) -> float | None:
        """Return the seconds until the next poll; None to wait until the configuration changes."""
        if not model.is_configured:
            return None
        if self._config.poll_interval_s > 0:
            return self._config.poll_interval_s
        return _LOADING_POLL_INTERVAL_S if model.is_busy else None
