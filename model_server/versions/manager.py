"""All models of the server: one thread each that looks after its versions, labels, and changes of all of it."""

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
from model_server.versions.lifecycle import NO_RETRIES, Loader, Model, Retries, State, VersionStatus, servable_not_found
from model_server.versions.repository import ModelConfig

_LOG = logging.getLogger(__name__)

_UNPOLLED_PAUSE_S = 1.0
"""How often to look at a version that is on its way, where polling as such is off."""
_INITIAL_LOAD_THREADS = 8
"""tensorflow_model_server takes four for each CPU, whatever num_load_threads says."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How the models are looked after."""

    poll_interval_s: float = 1.0
    """Time between two looks at a base path; 0 for a single look, less for none at all."""
    retries: Retries = NO_RETRIES
    load_threads: int = 0
    """Versions that are loaded at the same time once the server has started; 0 counts as 1."""
    labels_for_unavailable: bool = False
    """Whether a new label may be given to a version that is not loaded."""


class Models:
    """The models, by name."""

    def __init__(self, configs: Sequence[ModelConfig], load: Loader, rules: Rules) -> None:
        """Prepare the models; `start` starts looking after them.

        Args:
            configs: what to serve.
            load: makes a Servable of a version's directory.
            rules: how.

        Raises:
            FailedPreconditionError: there are labels, and the rules do not allow that before versions are loaded.
        """
        self._load = load
        self._rules = rules
        self._load_turns = threading.BoundedSemaphore(_INITIAL_LOAD_THREADS)
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._models: dict[str, Model] = {}
        self._labels: Mapping[str, Mapping[str, int]] = {}
        self._labels = self._assigned_labels(configs)
        self._awaited = [self._add(config) for config in configs]

    def start(self) -> None:
        """Begin to look for versions and to load them."""
        for model in self._awaited:
            self._look_after_it(model)

    def wait_until_available(self) -> bool:
        """Wait until each model has all its versions loaded, for ever if need be.

        Returns:
            False when `stop` was called meanwhile.

        Raises:
            ServingError: versions that cannot be loaded.
        """
        with self._changed:
            self._wait_until_settled(None)
        if self._stopping.is_set():
            return False
        self._raise_failures("servable(s)")
        self._load_turns = threading.BoundedSemaphore(max(self._rules.load_threads, 1))
        return True

    def reload(self, configs: Sequence[ModelConfig], timeout_s: float | None = None) -> None:
        """Serve other models, or the same in another way, and wait until those that are new are loaded.

        A reload waits for the one before, whose caller may have given up: tensorflow_model_server holds on to a
        configuration as long as a model of it does not come.

        Args:
            configs: what to serve from now on.
            timeout_s: when to stop waiting; None for never.

        Raises:
            DeadlineExceededError: the time is over. What was begun goes on.
            FailedPreconditionError: a label that cannot be given; nothing has changed.
            ServingError: a new model cannot be loaded.
        """
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
        """Hold a version of a model while a request runs on it: the given, the label's or the latest.

        Raises:
            InvalidArgumentError: the model has no such label.
            NotFoundError: the model or the version is not served.
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
        """Return the status of one version of a model or of all that were ever seen, the newest first.

        Raises:
            NotFoundError: no version was ever seen, or not this one.
        """
        model = self._models.get(name)
        statuses = [s for s in model.statuses() if version in (None, s.version)] if model else []
        if not statuses:
            what = "any versions" if version is None else f"version {version}"
            raise NotFoundError(f"Could not find {what} of model {name}")
        return statuses

    def stop(self) -> None:
        """Stop looking for versions. What is loaded stays loaded until `close`."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()

    def close(self) -> None:
        """Unload everything; requests in flight are not waited for."""
        self.stop()
        for model in list(self._models.values()):
            model.close()

    def _add(self, config: ModelConfig) -> Model:
        model = Model(config, self._load_in_turn, self._rules.retries)
        self._models[config.name] = model
        return model

    def _configure(self, configs: Sequence[ModelConfig]) -> None:
        serving = {name for name, model in self._models.items() if model.is_configured}
        for config in configs:
            model = self._models.get(config.name)
            if model is None:
                self._look_after_it(self._add(config))
            else:
                model.configure(config)
        for name in serving - {config.name for config in configs}:
            self._models[name].configure(None)
        self._awaited = [self._models[config.name] for config in configs if config.name not in serving]

    def _assigned_labels(self, configs: Sequence[ModelConfig]) -> dict[str, Mapping[str, int]]:
        """Return the labels of configurations, by model.

        Raises:
            FailedPreconditionError: the label of a version that is not available; even where the rules allow that, a
                label that is in use must not move there.
        """
        for config in configs:
            for label, version in config.labels.items():
                is_in_use_elsewhere = self._labels.get(config.name, {}).get(label, version) != version
                may_wait = self._rules.labels_for_unavailable and not is_in_use_elsewhere
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
        """Wait, holding the lock, for the models that were added last."""
        self._wait(lambda: all(model.is_settled for model in self._awaited), end_s)

    def _wait(self, condition: Callable[[], bool], end_s: float | None) -> None:
        timeout_s = None if end_s is None else end_s - time.monotonic()
        if not self._changed.wait_for(lambda: self._stopping.is_set() or condition(), timeout_s):
            raise DeadlineExceededError("Deadline Exceeded")

    def _raise_failures(self, what: str) -> None:
        failed = [
            f"{{{{name: {model.name} version: {status.version}}} due to error: {status.code.name}: {status.message}}}, "
            for model in self._awaited
            for status in model.failures()
        ]
        if failed:
            raise ServingError(f"{len(failed)} {what} did not become available: {{{''.join(failed)}}}")

    def _load_in_turn(self, name: str, version: int, path: Path) -> Servable:
        with self._load_turns:
            return self._load(name, version, path)

    def _look_after_it(self, model: Model) -> None:
        if self._rules.poll_interval_s >= 0:
            threading.Thread(target=self._look_after, args=(model,), name=f"model-{model.name}", daemon=True).start()

    def _look_after(self, model: Model) -> None:
        while not self._stopping.is_set():
            revision = model.revision
            try:
                model.look()
            except Exception:  # noqa: BLE001  # the next look may succeed
                _LOG.exception("Looking after model %s failed", model.name)
            with self._changed:
                self._changed.notify_all()
                self._changed.wait_for(partial(self._is_to_look, model, revision), self._pause_s(model))

    def _is_to_look(self, model: Model, revision: int) -> bool:
        return self._stopping.is_set() or model.revision != revision

    def _pause_s(self, model: Model) -> float | None:
        """Return how long to wait until the next look; None for until the configuration changes."""
        if not model.is_configured:
            return None
        if self._rules.poll_interval_s > 0:
            return self._rules.poll_interval_s
        return _UNPOLLED_PAUSE_S if model.is_busy else None
