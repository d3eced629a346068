"""The registry of configured models: which version of each answers, while versions come and go."""

import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from gateway.deadline import Deadline
from gateway.errors import (
    GatewayError,
    ModelContractError,
    ModelFailedError,
    ModelNotFoundError,
    ModelOverloadedError,
    ModelUnavailableError,
    VersionGoneError,
    VersionNotFoundError,
)
from gateway.model_client.protocol import ModelServer, VersionStatus
from gateway.models.binding import ServedModel, inspect_version
from gateway.models.configured import ConfiguredModels
from gateway.models.folders import describe_unavailability
from gateway.models.score_check import check_scores
from gateway.observability import metrics
from vision.card import CardError

AVAILABLE = "AVAILABLE"
"""State of a version that takes requests."""
SWAP_WAIT_S = 2.0
"""How long a request waits for the replacement of a version that was unloaded.

The model server takes requests for a new version before its status says so: the status stays LOADING until the last
request on the old version has ended. For a moment, therefore, no version is AVAILABLE.
"""
SWAP_POLL_S = 0.02
RECHECK_S = 10.0
"""How long a version whose scores were refused is not checked again, unless its card changes: a check costs as much as
an image, and the watcher looks every second."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """The model that a request is for.

    Attributes:
        model: Name of the model; None for the default one.
        version: Number of its version; None for the label's or, without a label, the newest one.
        label: Label of its version, as `models.config` defines them.
    """

    model: str | None = None
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class _Rejection:
    """Why the scores of a version were refused, and until when, in seconds of `time.monotonic`."""

    served: ServedModel
    error: ModelContractError | ModelFailedError
    until_s: float


class ModelRegistry:
    """The configured models, each with the version that answers; safe to use from many threads.

    Args:
        server: Serves the models.
        configured_models: The models in order, each with the labels of its versions.
        default: The model that answers when a request names none; None for the first one configured.
        cards_dir: Holds `NAME/card.json` of models that do not carry a card.
        status_deadline_s: Time limit on a query of the status of a model's versions.
    """

    def __init__(
        self,
        server: ModelServer,
        configured_models: ConfiguredModels,
        *,
        default: str | None = None,
        cards_dir: Path,
        status_deadline_s: float,
    ) -> None:
        self._server = server
        self._configured_models = configured_models
        self._default = default
        self._cards_dir = cards_dir
        self._status_deadline_s = status_deadline_s
        self._current: dict[str, ServedModel] = {}
        self._versions: dict[str, dict[int, ServedModel]] = {}
        self._rejected: dict[str, dict[int, _Rejection]] = {}
        self._inspections: dict[str, threading.Lock] = {}
        self._logged_faults: dict[str, str] = {}
        self._state_lock = threading.Lock()
        self._refresh_lock = threading.Lock()
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the configured models, in order."""
        return tuple(self._configured_models.current())

    @property
    def default(self) -> str:
        """Name of the model that answers when a request names none.

        Raises:
            ModelNotFoundError: No model is configured.
        """
        name = self._default or next(iter(self.names), None)
        if name is None:
            raise ModelNotFoundError("No model is served.")
        return name

    def current(self, name: str, *, deadline: Deadline) -> ServedModel:
        """Return the version of a model that answers, from memory if it is there.

        Raises:
            ModelNotFoundError: No model of that name is configured.
            GatewayError: It is not in memory and the model server did not provide it; see `refresh`.
        """
        self._check_configured(name)
        served = self._current.get(name)
        return served if served is not None else self.refresh(name, deadline=deadline)

    def resolve(self, target: ModelTarget, *, deadline: Deadline) -> ServedModel:
        """Return the version that a request targets, from memory if it is there.

        Raises:
            ModelNotFoundError: No model of that name is configured.
            VersionNotFoundError: The model server does not serve that version, or has no such label.
            ModelContractError, ModelFailedError: That version cannot be used.
            GatewayError: It is not in memory and the model server did not provide it; see `refresh`.
        """
        name = target.model or self.default
        if target.version is None and target.label is None:
            return self.current(name, deadline=deadline)
        self._check_configured(name)
        try:
            if target.version is not None:
                return self._inspect(name, target.version, deadline)
            version = self._server.resolve_label(name, str(target.label), deadline=self._status_deadline(deadline))
            return self._inspect(name, version, deadline)
        except VersionGoneError:
            raise self._version_not_found(target, name, deadline) from None

    def is_current(self, served: ServedModel, target: ModelTarget, *, deadline: Deadline) -> bool:
        """Return whether this version is still the one that a request targets, according to the model server.

        Raises:
            GatewayError: The model server did not answer; see `refresh`.
        """
        available = self._available(served.name, deadline)
        if served.version not in available:
            return False
        pinned = target.version is not None or target.label is not None
        return pinned or served.version == available[0] or self.refresh(served.name, deadline=deadline) is served

    def labels(self, name: str, *, deadline: Deadline) -> dict[str, int]:
        """Query the version of each label of a model; labels that the model server does not have are omitted.

        Raises:
            ModelNotFoundError: No model of that name is configured.
            ModelUnavailableError: The model server is unreachable.
            DeadlineExceededError: It did not answer in time.
        """
        self._check_configured(name)
        versions: dict[str, int] = {}
        for label in self._configured_models.current().get(name, ()):
            with suppress(VersionGoneError):
                versions[label] = self._server.resolve_label(name, label, deadline=self._status_deadline(deadline))
        return versions

    def refresh(self, name: str, *, deadline: Deadline) -> ServedModel:
        """Query which version of a model answers, and keep it in memory.

        Raises:
            ModelNotFoundError: No model of that name is configured.
            ModelUnavailableError: The model server is unreachable or has no version of it ready.
            ModelContractError, ModelFailedError: No version that is ready can be used.
            DeadlineExceededError: The model server did not answer in time.
        """
        self._check_configured(name)
        try:
            served = self._newest_usable(name, deadline)
        except ModelOverloadedError:
            raise  # the server is running and still has the same files
        except (ModelUnavailableError, ModelContractError, ModelFailedError) as error:
            # A server that comes back may have other files under the same number, so the card is read again then.
            self._current.pop(name, None)
            self._versions.pop(name, None)
            if isinstance(error, ModelUnavailableError):
                self._rejected.pop(name, None)
            metrics.MODEL_VERSION.labels(name).set(0)
            self._log_once(name, error)
            raise
        with self._state_lock:
            is_new = self._current.get(name) is not served
            self._current[name] = served
        if is_new:
            metrics.MODEL_VERSION.labels(name).set(served.version)
            metrics.VERSION_STARTS.labels(name, served.version).inc()
            log.info("model_version_answers", model=name, version=served.version)
        return served

    def version_statuses(self, name: str, *, deadline: Deadline) -> list[VersionStatus]:
        """Query which versions of a model the model server has, loaded or not, newest first.

        Raises:
            ModelNotFoundError: No model of that name is configured.
            ModelUnavailableError: The model server is unreachable.
            DeadlineExceededError: It did not answer in time.
        """
        self._check_configured(name)
        try:
            statuses = self._server.version_statuses(name, deadline=self._status_deadline(deadline))
        except VersionGoneError:
            return []
        return sorted(statuses, key=lambda status: status.version, reverse=True)

    def await_replacement(self, previous: ServedModel, target: ModelTarget, *, deadline: Deadline) -> ServedModel:
        """Wait for the version that replaces one that the model server has unloaded, and return it.

        Raises:
            VersionNotFoundError: The request targets that very version, or its label has not moved.
            GatewayError: None came within `SWAP_WAIT_S` or the deadline; see `refresh`.
        """
        if target.version is not None or target.label is not None:
            self._versions.get(previous.name, {}).pop(previous.version, None)
            return self.resolve(target, deadline=deadline)
        swap_deadline = Deadline.after(SWAP_WAIT_S)
        while True:
            with _held(self._refresh_lock, deadline):
                served = self._current.get(previous.name)
                if served is None or served is previous:
                    try:
                        served = self.refresh(previous.name, deadline=deadline)
                    except ModelUnavailableError:
                        if swap_deadline.has_passed:
                            raise
            if served is not None and (served is not previous or swap_deadline.has_passed):
                return served
            self._stop.wait(deadline.remaining_s(SWAP_POLL_S))

    def reject(self, served: ServedModel, error: ModelContractError) -> None:
        """Refuse a version because of an answer that contradicts its card, until its card or the model server changes.

        The check before it answered did not notice; otherwise some images would be answered, and wrongly.
        """
        self._rejected.setdefault(served.name, {})[served.version] = _Rejection(served, error, math.inf)
        versions = self._versions.get(served.name, {})
        if versions.get(served.version) is served:
            versions.pop(served.version, None)
        with self._state_lock:
            if self._current.get(served.name) is served:
                self._current.pop(served.name)
        self._log_once(served.name, error)

    def watch(self, interval_s: float, *, deadline_s: float) -> None:
        """Refresh every model periodically in a thread of its own, until `close`.

        Args:
            interval_s: Pause between two rounds.
            deadline_s: Time limit on the refresh of one model, which may read the card of a new version.
        """
        self._watcher = threading.Thread(
            target=self._watch, args=(interval_s, deadline_s), name="registry", daemon=True
        )
        self._watcher.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()

    def _watch(self, interval_s: float, deadline_s: float) -> None:
        while not self._stop.is_set():
            for name in self.names:
                try:
                    self.refresh(name, deadline=Deadline.after(deadline_s))
                except GatewayError as error:
                    self._log_once(name, error)
                except Exception:  # a bug in one refresh must not end the watcher
                    log.exception("look_failed", model=name)
            self._stop.wait(interval_s)

    def _check_configured(self, name: str) -> None:
        configured = self._configured_models.current()
        if name not in configured:
            raise ModelNotFoundError(f"No model named {name!r} is served. Served: {', '.join(configured) or 'none'}.")

    def _status_deadline(self, deadline: Deadline) -> Deadline:
        return deadline.no_later_than(self._status_deadline_s)

    def _version_not_found(self, target: ModelTarget, name: str, deadline: Deadline) -> VersionNotFoundError:
        """Return the error that lists the versions and labels that are served instead."""
        versions = self._available(name, deadline)
        labels = list(self.labels(name, deadline=deadline))
        missing = f"version {target.version}" if target.label is None else f"version labelled {target.label!r}"
        served = ", ".join([*map(str, versions), *labels]) or "none"
        return VersionNotFoundError(
            f"No {missing} of {name} is served. Served: {served}.", versions=versions, labels=labels
        )

    def _newest_usable(self, name: str, deadline: Deadline) -> ServedModel:
        statuses = self.version_statuses(name, deadline=deadline)
        available = _available_versions(statuses)
        for versions in (self._versions.get(name, {}), self._rejected.get(name, {})):
            for version in versions.keys() - available:
                versions.pop(version, None)
        self._drop_stale_cards(name)
        fault: GatewayError | None = None
        for version in available:
            try:
                served = self._inspect(name, version, deadline)
            except (ModelContractError, ModelFailedError, VersionGoneError) as error:
                self._log_once(name, error)
                fault = error
            else:
                if fault is None:  # otherwise an older version replaces the newest one, whose fault persists
                    self._logged_faults.pop(name, None)
                return served
        if isinstance(fault, ModelContractError | ModelFailedError):
            raise fault
        cause = describe_unavailability(self._configured_models.folder(name), statuses)
        raise ModelUnavailableError(f"The model server has no version of {name} ready{cause}")

    def _drop_stale_cards(self, name: str) -> None:
        """Forget the versions whose `NAME/card.json` has changed, so that every worker uses the card that is there now.

        A version answers with its old card until the new one has been read.
        """
        versions = self._versions.get(name, {})
        stale = [version for version, served in versions.items() if served.has_stale_card(self._cards_dir)]
        for version in stale:
            versions.pop(version, None)
        if stale:
            log.info("card_changed", model=name)

    def _available(self, name: str, deadline: Deadline) -> list[int]:
        return _available_versions(self.version_statuses(name, deadline=deadline))

    def _inspect(self, name: str, version: int, deadline: Deadline) -> ServedModel:
        """Return a version from memory, or inspect it and check its scores; one thread does so, the others wait.

        A version is returned only after this check, so one whose check cannot be made, because the model server is
        overloaded or late, does not answer yet.
        """
        versions = self._versions.setdefault(name, {})
        served = versions.get(version)
        if served is not None:
            return served
        with _held(self._inspections.setdefault(name, threading.Lock()), deadline):
            served = versions.get(version)
            if served is None:
                served = inspect_version(self._server, name, version, cards_dir=self._cards_dir, deadline=deadline)
                self._check_scores(served, deadline)
                versions[version] = served
        return served

    def _check_scores(self, served: ServedModel, deadline: Deadline) -> None:
        """Check what a version returns, unless it was rejected with the same card before.

        Raises:
            ModelContractError, ModelFailedError: Its scores are not probabilities, or it failed; it is checked again
                after `RECHECK_S`.
            GatewayError: It could not be checked.
        """
        rejected = self._rejected.setdefault(served.name, {})
        rejection = rejected.pop(served.version, None)
        if rejection is not None and rejection.served == served and time.monotonic() < rejection.until_s:
            rejected[served.version] = rejection
            raise type(rejection.error)(rejection.error.detail) from rejection.error.__cause__
        try:
            check_scores(self._server, served, deadline=deadline)
        except (ModelContractError, ModelFailedError) as error:
            rejected[served.version] = _Rejection(served, error, time.monotonic() + RECHECK_S)
            raise

    def _log_once(self, name: str, error: GatewayError) -> None:
        """Log a fault when it begins, not each time it occurs."""
        reason = str(error.__cause__) if isinstance(error.__cause__, CardError) else error.detail
        if self._logged_faults.get(name) != reason:
            self._logged_faults[name] = reason
            log.warning("model_unusable", model=name, reason=reason)


def _available_versions(statuses: Sequence[VersionStatus]) -> list[int]:
    return [status.version for status in statuses if status.state == AVAILABLE]


@contextmanager
def _held(lock: threading.Lock, deadline: Deadline) -> Iterator[None]:
    """Hold a lock: one thread does what several need, and the others use its result.

    Raises:
        DeadlineExceededError: It was not free in time.
    """
    if not lock.acquire(timeout=deadline.remaining_s()):
        raise deadline.exceeded()
    try:
        yield
    finally:
        lock.release()
