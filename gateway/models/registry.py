"""Which models are offered, and the version of each that answers now, while versions come and go."""

import threading
from collections.abc import Iterator
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
from gateway.observability import metrics

AVAILABLE = "AVAILABLE"
"""State of a version that takes requests."""
SWAP_WAIT_S = 2.0
"""How long a request waits for the version that follows one that is gone.

The model server takes requests for a new version before its status says so (it stays LOADING until the last request
on the old version has ended), so there is a moment in which status names no version to ask.
"""
SWAP_POLL_S = 0.02

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """Who is to answer.

    Attributes:
        model: Name of the model; None for the default one.
        version: Number of its version; None for the label's, or for the newest one.
        label: Label of its version, as the model server's configuration gives them.
    """

    model: str | None = None
    version: int | None = None
    label: str | None = None


class Catalog:
    """The models offered, each with the version that answers; safe to use from many threads.

    Args:
        server: Where the models are served.
        configured_models: The models offered, with the labels of their versions.
        default: The model that answers when a request names none; None for the first one offered.
        cards_dir: Where `NAME/card.json` lies for models without a card of their own.
        look_deadline_s: Longest time to wait for the list of a model's versions.
    """

    def __init__(
        self,
        server: ModelServer,
        configured_models: ConfiguredModels,
        *,
        default: str | None = None,
        cards_dir: Path,
        look_deadline_s: float,
    ) -> None:
        self._server = server
        self._configured_models = configured_models
        self._default = default
        self._cards_dir = cards_dir
        self._look_deadline_s = look_deadline_s
        self._served: dict[str, ServedModel] = {}
        self._learnt: dict[str, dict[int, ServedModel]] = {}
        self._faults: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models offered, in order."""
        return tuple(self._configured_models.current())

    @property
    def default(self) -> str:
        """Name of the model that answers when a request names none.

        Raises:
            ModelNotFoundError: none is offered.
        """
        name = self._default or next(iter(self.names), None)
        if name is None:
            raise ModelNotFoundError("No model is offered.")
        return name

    def get(self, name: str, *, deadline: Deadline) -> ServedModel:
        """Give the version of a model that answers now, from memory where it is known.

        Raises:
            ModelNotFoundError: no model of that name is offered.
            GatewayError: it is not known yet and could not be learnt; see `look`.
        """
        served = self._served.get(name)
        return served if served is not None else self.look(name, deadline=deadline)

    def choose(self, target: Target, *, deadline: Deadline) -> ServedModel:
        """Give the version that a request asks for, from memory where it is known.

        Raises:
            ModelNotFoundError: no model of that name is offered.
            VersionNotFoundError: the model server does not serve that version, or knows no such label.
            ModelContractError, ModelFailedError: that version cannot be used.
            GatewayError: it is not known yet and could not be learnt; see `look`.
        """
        name = target.model or self.default
        if target.version is None and target.label is None:
            return self.get(name, deadline=deadline)
        self._check_offered(name)
        try:
            if target.version is not None:
                return self._version(name, target.version, deadline)
            version = self._server.resolve_label(name, str(target.label), deadline=self._soon(deadline))
            return self._version(name, version, deadline)
        except VersionGoneError:
            raise self._no_such(target, name, deadline) from None

    def answers_now(self, served: ServedModel, target: Target, *, deadline: Deadline) -> bool:
        """Ask the model server whether this version is still the one that a request asks for.

        Raises:
            GatewayError: it could not be learnt; see `look`.
        """
        available = self._available(served.name, deadline)
        if served.version not in available:
            return False
        pinned = target.version is not None or target.label is not None
        return pinned or served.version == available[0] or self.look(served.name, deadline=deadline) is served

    def labels(self, name: str, *, deadline: Deadline) -> dict[str, int]:
        """Ask the model server where each label of a model points to; those that it does not know are left out.

        Raises:
            ModelNotFoundError: no model of that name is offered.
            ModelUnavailableError: the model server is away.
            DeadlineExceededError: it did not tell in time.
        """
        self._check_offered(name)
        found: dict[str, int] = {}
        for label in self._configured_models.current().get(name, ()):
            with suppress(VersionGoneError):
                found[label] = self._server.resolve_label(name, label, deadline=self._soon(deadline))
        return found

    def look(self, name: str, *, deadline: Deadline) -> ServedModel:
        """Ask the model server which version of a model answers, and remember it.

        Raises:
            ModelNotFoundError: no model of that name is offered.
            ModelUnavailableError: the model server is away or has no version of it ready.
            ModelContractError, ModelFailedError: none of the versions ready can be used.
            DeadlineExceededError: the model server did not tell in time.
        """
        self._check_offered(name)
        try:
            served = self._newest(name, deadline)
        except ModelOverloadedError:
            raise  # it is there, with the same files
        except (ModelUnavailableError, ModelContractError, ModelFailedError) as error:
            # When the server comes back it may hold other files under the same number: learn the card anew then.
            self._served.pop(name, None)
            self._learnt.pop(name, None)
            metrics.MODEL_VERSION.labels(name).set(0)
            self._note(name, error)
            raise
        if self._served.get(name) is not served:
            self._served[name] = served
            metrics.MODEL_VERSION.labels(name).set(served.version)
            metrics.VERSION_STARTS.labels(name, served.version).inc()
            log.info("model_version_answers", model=name, version=served.version)
        return served

    def versions(self, name: str, *, deadline: Deadline) -> list[VersionStatus]:
        """Ask the model server which versions of a model it knows, served or not, newest first.

        Raises:
            ModelNotFoundError: no model of that name is offered.
            ModelUnavailableError: the model server is away.
            DeadlineExceededError: it did not tell in time.
        """
        self._check_offered(name)
        try:
            statuses = self._server.version_statuses(name, deadline=self._soon(deadline))
        except VersionGoneError:
            return []
        return sorted(statuses, key=lambda status: status.version, reverse=True)

    def _check_offered(self, name: str) -> None:
        if name not in self.names:
            known = ", ".join(self.names) or "none"
            raise ModelNotFoundError(f"No model named {name!r} is served. Served are: {known}.")

    def _soon(self, deadline: Deadline) -> Deadline:
        return deadline.no_later_than(self._look_deadline_s)

    def _no_such(self, target: Target, name: str, deadline: Deadline) -> VersionNotFoundError:
        """Make the error that tells which versions and labels there are in place of the one asked for."""
        versions = self._available(name, deadline)
        labels = list(self.labels(name, deadline=deadline))
        asked = f"version {target.version}" if target.label is None else f"version labelled {target.label!r}"
        served = ", ".join([*map(str, versions), *labels]) or "none"
        return VersionNotFoundError(
            f"No {asked} of {name} is served. Served are: {served}.", versions=versions, labels=labels
        )

    def successor(self, gone: ServedModel, target: Target, *, deadline: Deadline) -> ServedModel:
        """Give the version that answers in place of one that the model server serves no longer.

        Raises:
            VersionNotFoundError: the request asks for that very version, or its label has not moved.
            GatewayError: none came within `SWAP_WAIT_S` or the deadline; see `look`.
        """
        if target.version is not None or target.label is not None:
            self._learnt.get(gone.name, {}).pop(gone.version, None)
            return self.choose(target, deadline=deadline)
        give_up = Deadline.after(SWAP_WAIT_S)
        while True:
            with self._one_at_a_time(deadline):
                served = self._served.get(gone.name)
                if served is None or served is gone:
                    try:
                        served = self.look(gone.name, deadline=deadline)
                    except ModelUnavailableError:
                        if give_up.passed:
                            raise
            if served is not None and (served is not gone or give_up.passed):
                return served
            self._stop.wait(deadline.remaining_s(SWAP_POLL_S))

    @contextmanager
    def _one_at_a_time(self, deadline: Deadline) -> Iterator[None]:
        """Let one request look, the others find what it found."""
        if not self._lock.acquire(timeout=deadline.remaining_s()):
            raise deadline.missed()
        try:
            yield
        finally:
            self._lock.release()

    def watch(self, interval_s: float, *, deadline_s: float) -> None:
        """Look at every model now and then from a thread of its own, until `close`.

        Args:
            interval_s: Pause between two looks.
            deadline_s: Longest time for one look that has to learn a new version's card.
        """
        self._watcher = threading.Thread(
            target=self._keep_looking, args=(interval_s, deadline_s), name="catalog", daemon=True
        )
        self._watcher.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()

    def _keep_looking(self, interval_s: float, deadline_s: float) -> None:
        while not self._stop.is_set():
            for name in self.names:
                try:
                    self.look(name, deadline=Deadline.after(deadline_s))
                except GatewayError as error:
                    self._note(name, error)
                except Exception:  # a bug in one look must not end all further ones
                    log.exception("look_failed", model=name)
            self._stop.wait(interval_s)

    def _newest(self, name: str, deadline: Deadline) -> ServedModel:
        available = self._available(name, deadline)
        learnt = self._learnt.get(name, {})
        self._learnt[name] = {version: known for version in available if (known := learnt.get(version))}
        fault: GatewayError | None = None
        for version in available:
            try:
                served = self._version(name, version, deadline)
            except (ModelContractError, ModelFailedError, VersionGoneError) as error:
                self._note(name, error)
                fault = error
            else:
                if fault is None:  # else an older version stands in, and the newest is still at fault
                    self._faults.pop(name, None)
                return served
        if isinstance(fault, ModelContractError | ModelFailedError):
            raise fault
        raise ModelUnavailableError(f"The model server has no version of {name} ready. Try again shortly.")

    def _available(self, name: str, deadline: Deadline) -> list[int]:
        return [item.version for item in self.versions(name, deadline=deadline) if item.state == AVAILABLE]

    def _version(self, name: str, version: int, deadline: Deadline) -> ServedModel:
        learnt = self._learnt.setdefault(name, {})
        known = learnt.get(version)
        if known is None:
            known = inspect_version(self._server, name, version, cards_dir=self._cards_dir, deadline=deadline)
            learnt[version] = known
        return known

    def _note(self, name: str, error: GatewayError) -> None:
        """Log a fault when it begins, not every time it is met."""
        if self._faults.get(name) != error.detail:
            self._faults[name] = error.detail
            log.warning("model_unusable", model=name, reason=error.detail)
