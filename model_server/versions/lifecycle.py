"""Load, serve and unload the versions of one model, and tell the state of each.

A new version is loaded fully, warm-up included, before any request goes to it; then requests go there, the
old version ends when its last request is done, and only then does the status say AVAILABLE and END. This is
the order that tensorflow_model_server was seen to keep. A version that cannot be loaded is tried again as often as
the flags say, and then has failed: as long as it is wanted, it is not tried any more. A new attempt needs a new number.

A version that is still being copied is not loaded. It counts as complete when all files of a SavedModel are
there and two looks at the directory, one poll interval apart, show the same sizes and times of change. A copy
that pauses for longer between complete files can still be caught half done; a directory that is moved into
place never is. (tensorflow_model_server tries to load what is there; here what is not complete costs a try without one
being made, except for the last, whose error is told. Whatever changes in the directory gives all tries back.)
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TypeAlias

from model_server.errors import Code, FailedPreconditionError, NotFoundError, ServingError
from model_server.servable import Servable
from model_server.versions import repository
from model_server.versions.repository import Fingerprint, ModelConfig, Specific

_LOG = logging.getLogger(__name__)

Loader: TypeAlias = Callable[[str, int, Path], Servable]
"""Loads and warms up version `int` of model `str` from a directory; raises ServingError."""


class State(IntEnum):
    """The states of a version, the numbers of ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """What is told about one version."""

    version: int
    state: State
    code: Code = Code.OK
    message: str = ""


@dataclass(frozen=True, slots=True)
class Retries:
    """What to do about a version that cannot be loaded."""

    count: int = 0
    """Tries after the first."""
    interval_s: float = 0.0
    """Time from one to the next."""


NO_RETRIES = Retries()


@dataclass(slots=True)
class _Version:
    """One version that was ever seen."""

    status: VersionStatus
    servable: Servable | None = None
    """Set while requests may go to the version."""
    in_flight: int = 0
    is_aspired: bool = True
    """Whether the last look found that it should be served."""
    looks: Fingerprint | None = None
    """What the directory looked like at the last look."""
    tries: int = 0
    """How many loads of these files failed."""
    next_try_s: float = 0.0
    """Not before this time of the monotonic clock."""


class Model:
    """All versions of one model.

    `look` is called again and again by one thread; the other methods may be called from any.
    """

    def __init__(self, config: ModelConfig, load: Loader, retries: Retries) -> None:
        """Start without any version.

        Args:
            config: what to serve.
            load: makes a Servable of a version's directory.
            retries: for versions that cannot be loaded.
        """
        self.name = config.name
        self.revision = 0
        """How often the configuration changed."""
        self._config: ModelConfig | None = config
        self._load = load
        self._retries = retries
        self._versions: dict[int, _Version] = {}
        self._changed = threading.Condition()
        self._settled_revision = -1
        self._closing = False
        self._told: set[str] = set()

    @property
    def is_configured(self) -> bool:
        """Whether there should be versions; the model stays to tell what became of them where there should not."""
        return self._config is not None

    @property
    def is_settled(self) -> bool:
        """Whether, of the present configuration, there are versions and all of them are loaded or have failed."""
        return self._settled_revision == self.revision

    def configure(self, config: ModelConfig | None) -> None:
        """Serve something else from the next look on: another path, other versions, or nothing for None."""
        with self._changed:
            if config != self._config or config is None:
                self._config, self.revision = config, self.revision + 1

    def look(self) -> None:
        """Look at the base path once; load and unload what that asks for."""
        with self._changed:
            config, revision = self._config, self.revision
        found = self._scan(config) if config else {}
        if found is None:
            return
        aspired = config.policy.choose(frozenset(found)) if config else frozenset()
        ready = [version for version in sorted(aspired) if self._is_due(version, found[version])]
        for version in ready:
            self._load_version(version, found[version])
        self._forget_all_but(aspired)
        unloaded = self._unload_all_but(aspired)
        with self._changed:  # whoever asks sees a swap whole, as with the real server
            for version in unloaded:
                self._set(version, State.END)
            for version in ready:
                if self._versions[version].servable is not None:
                    self._set(version, State.AVAILABLE)
        if aspired and not self._is_busy(aspired):
            self._settled_revision = revision

    @property
    def is_busy(self) -> bool:
        """Whether a version is on its way."""
        return self._is_busy(self._versions)

    def failures(self) -> list[VersionStatus]:
        """Return the status of each version that should be served and has failed."""
        return [e.status for _, e in sorted(self._versions.items()) if e.is_aspired and e.status.code is not Code.OK]

    @contextmanager
    def lease(self, version: int | None) -> Iterator[tuple[int, Servable]]:
        """Hold a version, the latest for None, so that it is not unloaded meanwhile.

        Raises:
            NotFoundError: no such version is served.
        """
        with self._changed:
            number, entry, servable = self._find(version)
            entry.in_flight += 1
        try:
            yield number, servable
        finally:
            with self._changed:
                entry.in_flight -= 1
                if not entry.in_flight:
                    self._changed.notify_all()

    def statuses(self) -> list[VersionStatus]:
        """Return the status of each version ever seen, the newest first."""
        with self._changed:
            return [self._versions[version].status for version in sorted(self._versions, reverse=True)]

    def close(self) -> None:
        """Unload everything; requests in flight are not waited for."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for version in self._unload_all_but(frozenset()):
            self._set(version, State.END)

    def _is_busy(self, versions: Iterable[int]) -> bool:
        with self._changed:
            return any(self._versions[version].status.state in (State.START, State.LOADING) for version in versions)

    def _scan(self, config: ModelConfig) -> Mapping[int, Path] | None:
        """Return the versions on disk; None if that cannot be told now, which must not unload anything."""
        path = config.base_path
        try:
            found = repository.scan(path)
        except ServingError as error:
            self._tell(f"Could not find base path {path} for servable {self.name} with error {error}")
            return None
        if not found:
            self._tell(
                f"No versions of servable {self.name} found under base path {path}. "
                "Did you forget to name your leaf directory as a number (eg. '/1/')?"
            )
        if isinstance(config.policy, Specific):
            self._tell_missing(config.policy.versions, found)
        return found

    def _tell_missing(self, wanted: frozenset[int], found: Mapping[int, Path]) -> None:
        if not wanted:
            self._tell(f"No specific versions requested for servable {self.name}.")
        for version in sorted(wanted - found.keys()):
            self._tell(
                f"Version {version} of servable {self.name}, which was requested to be served as a 'specific' version "
                "in the servable's version policy, was not found in the file system"
            )

    def _tell(self, problem: str) -> None:
        """Log something that each look finds again, once until the next version is loaded."""
        if problem not in self._told:
            _LOG.warning("%s", problem)
            self._told.add(problem)

    def _is_due(self, version: int, path: Path) -> bool:
        """Tell whether to load a version now."""
        entry = self._entry(version)
        if entry.servable is not None or entry.status.state is State.END:
            return False
        is_new = entry.looks is None
        looks = repository.fingerprint(path)
        if not is_new:
            self._set(version, State.LOADING)
        if looks != entry.looks:
            entry.looks, entry.tries, entry.next_try_s = looks, 0, 0.0
            return False
        if time.monotonic() < entry.next_try_s:
            return False
        missing = repository.missing_part(path)
        if missing:
            self._tell(f"Version {version} of model {self.name} is not complete: {path / missing} is missing")
        return not (missing and self._may_try_again(entry))

    def _entry(self, version: int) -> _Version:
        """Return what is known of a version that should be served; what has ended by then begins anew."""
        entry = self._versions.get(version)
        if entry is None or (entry.status.state is State.END and not entry.is_aspired):
            entry = _Version(VersionStatus(version, State.START))
            with self._changed:
                self._versions[version] = entry
        return entry

    def _may_try_again(self, entry: _Version) -> bool:
        """Count a try that failed, and say whether there is another."""
        if entry.tries >= self._retries.count:
            return False
        entry.tries += 1
        entry.next_try_s = time.monotonic() + self._retries.interval_s
        return True

    def _load_version(self, version: int, path: Path) -> None:
        entry = self._versions[version]
        _LOG.info("Loading servable version {name: %s version: %d} from %s", self.name, version, path)
        started_s = time.monotonic()
        try:
            servable = self._try_to_load(version, path)
        except ServingError as error:
            servable_id = f"{{name: {self.name} version: {version}}}"
            _LOG.error("Loading servable: %s failed: %s", servable_id, error)  # whose fault it is, is told
            if self._may_try_again(entry):
                _LOG.info("Retrying of Loading servable: %s retry: %d", servable_id, entry.tries)
            else:
                self._set(version, State.END, error)
            return
        with self._changed:
            entry.servable = servable
        self._told.clear()
        took_s = time.monotonic() - started_s
        _LOG.info("Successfully loaded servable version {name: %s version: %d} in %.2f s", self.name, version, took_s)

    def _try_to_load(self, version: int, path: Path) -> Servable:
        if path.is_file():
            raise FailedPreconditionError(
                "Error while attempting to reserve resources to load servable "
                f"{{name: {self.name} version: {version}}}: {path}; Not a directory"
            )
        try:
            return self._load(self.name, version, path)
        except ServingError:
            raise
        except Exception as error:  # whatever it was, the version must not stay LOADING for ever
            _LOG.exception("Loading version %d of model %s failed", version, self.name)
            raise ServingError(str(error), Code.INTERNAL) from error

    def _forget_all_but(self, aspired: frozenset[int]) -> None:
        """Stop waiting for directories that went away before they were complete."""
        for version, entry in self._versions.items():
            entry.is_aspired = version in aspired
            if not entry.is_aspired and entry.status.state in (State.START, State.LOADING):
                self._set(version, State.END)

    def _unload_all_but(self, aspired: frozenset[int]) -> list[int]:
        """Unload what is served and should not be, and return it; its status is the caller's to change."""
        with self._changed:
            serving = {version for version, entry in self._versions.items() if entry.servable is not None}
        # As long as nothing new can answer, the old goes on.
        if aspired and not serving & aspired:
            return []
        unloaded = sorted(serving - aspired)
        for version in unloaded:
            self._unload_version(version)
        return unloaded

    def _unload_version(self, version: int) -> None:
        entry = self._versions[version]
        with self._changed:
            servable, entry.servable = entry.servable, None
            self._changed.wait_for(lambda: not entry.in_flight or self._closing)
        if servable is not None and not entry.in_flight:
            servable.close()
        _LOG.info("Done unloading servable version {name: %s version: %d}", self.name, version)

    def _find(self, version: int | None) -> tuple[int, _Version, Servable]:
        for number in sorted(self._versions, reverse=True):
            entry = self._versions[number]
            if entry.servable is not None and version in (None, number):
                return number, entry, entry.servable
        raise servable_not_found(self.name, version)

    def _set(self, version: int, state: State, error: ServingError | None = None) -> None:
        status = VersionStatus(version, state)
        if error is not None:
            status = VersionStatus(version, state, error.code, error.message)
        with self._changed:
            self._versions[version].status = status


def servable_not_found(name: str, version: int | None) -> NotFoundError:
    """Make the error for a model, or a version of it, that is not served."""
    asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return NotFoundError(f"Servable not found for request: {asked}")
