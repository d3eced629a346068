"""Load, serve and unload the versions of one model, and report the status of each.

A new version is loaded completely, warm-up included, before it receives requests. Then it receives all of them, the
old version is unloaded after its last request, and only then does the status change to AVAILABLE and END. This order
was observed on tensorflow_model_server. A version that fails to load is retried as often as the flags say. After that
it has failed for good: it is not retried while its directory exists. A new attempt needs a new version number.

A version that is still being copied is not loaded. It is complete when all files of the form that is served exist and
two polls in a row find the same sizes and change times, or the first poll finds only files that are older than
`repository.SETTLED_AGE_S`. A copy that pauses for longer than a poll interval between
complete files can still be loaded half-copied; a directory that is moved into place cannot. (tensorflow_model_server
tries to load an incomplete version. Here an incomplete version uses up one retry per poll without a load, except for
the last, whose error is reported. Any change in the directory resets the retries.)
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
from model_server.versions.repository import TFLITE_FILE, Fingerprint, ModelConfig, Specific

_LOG = logging.getLogger(__name__)

Loader: TypeAlias = Callable[[str, int, Path], Servable]
"""Loads and warms up a version from a directory: (model name, version, path). Raises ServingError."""


class State(IntEnum):
    """States of a version, numbered as in ModelVersionStatus.State."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """The reported status of one version."""

    version: int
    state: State
    code: Code = Code.OK
    message: str = ""


@dataclass(frozen=True, slots=True)
class LoadRetryPolicy:
    """Number and interval of the retries of a version that fails to load."""

    count: int = 0
    """Retries after the first attempt."""
    interval_s: float = 0.0
    """Time between two attempts, in seconds."""
    after_changes: bool = False
    """Whether a version that has used up its retries is loaded again once its files change."""


NO_RETRIES = LoadRetryPolicy()


@dataclass(slots=True)
class _Version:
    """A version that exists or once existed."""

    status: VersionStatus
    servable: Servable | None = None
    """Set while the version may receive requests."""
    in_flight: int = 0
    is_aspired: bool = True
    """Whether the last poll found that it should be served."""
    fingerprint: Fingerprint | None = None
    """Fingerprint of the directory at the last poll."""
    retries: int = 0
    """Retries used up by the present files."""
    retry_at_s: float = 0.0
    """Earliest time of the next attempt, on the monotonic clock."""


class Model:
    """All versions of one model.

    One thread calls `reconcile` repeatedly; the other methods may be called from any thread.
    """

    def __init__(
        self, config: ModelConfig, load: Loader, retry_policy: LoadRetryPolicy, *, prefer_tflite: bool = False
    ) -> None:
        """Start without any version.

        Args:
            config: What to serve.
            load: Makes a Servable from a version's directory.
            retry_policy: For versions that fail to load.
            prefer_tflite: Whether a version with `model.tflite` needs no SavedModel to be complete.
        """
        self.name = config.name
        self.revision = 0
        """Number of configuration changes."""
        self._config: ModelConfig | None = config
        self._load = load
        self._retry_policy = retry_policy
        self._prefer_tflite = prefer_tflite
        self._versions: dict[int, _Version] = {}
        self._changed = threading.Condition()
        self._settled_revision = -1
        self._attempted_revision = -1
        self._closing = False
        self._logged_warnings: set[str] = set()

    @property
    def is_configured(self) -> bool:
        """Whether the model should have versions. Without a configuration it remains, to report how they ended."""
        return self._config is not None

    @property
    def is_settled(self) -> bool:
        """Whether the present configuration has versions, and each of them is loaded or has failed."""
        return self._settled_revision == self.revision

    @property
    def is_attempted(self) -> bool:
        """Whether each version of the present configuration, if it has any, is loaded or has failed at least once."""
        return self._attempted_revision == self.revision

    def configure(self, config: ModelConfig | None) -> None:
        """Change what is served from the next `reconcile` on: another path, other versions, or nothing for None."""
        with self._changed:
            if config != self._config or config is None:
                self._config, self.revision = config, self.revision + 1

    def reconcile(self) -> None:
        """Scan the base path once, and load and unload versions accordingly."""
        with self._changed:
            config, revision = self._config, self.revision
        paths = self._scan(config) if config else {}
        if paths is None:
            self._attempted_revision = revision
            return
        aspired = config.policy.choose(frozenset(paths)) if config else frozenset()
        ready = [version for version in sorted(aspired) if self._is_due(version, paths[version])]
        for version in ready:
            self._load_version(version, paths[version])
        self._abandon_all_but(aspired)
        unloaded = self._unload_all_but(aspired)
        with self._changed:  # both changes become visible at once, as with the real server
            for version in unloaded:
                self._set_status(version, State.END)
            for version in ready:
                if self._versions[version].servable is not None:
                    self._set_status(version, State.AVAILABLE)
        pending = [version for version in aspired if not self._versions[version].retries]
        if not self._is_busy(pending):
            self._attempted_revision = revision
        if aspired and not self._is_busy(aspired):
            self._settled_revision = revision

    @property
    def is_busy(self) -> bool:
        """Whether a version is being loaded or waits to be."""
        return self._is_busy(self._versions)

    def failures(self) -> list[VersionStatus]:
        """Return the status of each version that should be served but failed to load."""
        with self._changed:
            entries = [entry for _, entry in sorted(self._versions.items())]
            return [entry.status for entry in entries if entry.is_aspired and entry.status.code is not Code.OK]

    @contextmanager
    def lease(self, version: int | None) -> Iterator[tuple[int, Servable]]:
        """Hold a version, the latest for None, so that it is not unloaded in the meantime.

        Raises:
            NotFoundError: The version is not served.
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
        """Return the status of each version that exists or once existed, the newest first."""
        with self._changed:
            return [self._versions[version].status for version in sorted(self._versions, reverse=True)]

    def close(self) -> None:
        """Unload everything without waiting for requests in flight."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for version in self._unload_all_but(frozenset()):
            self._set_status(version, State.END)

    def _is_busy(self, versions: Iterable[int]) -> bool:
        with self._changed:
            return any(self._versions[version].status.state in (State.START, State.LOADING) for version in versions)

    def _scan(self, config: ModelConfig) -> Mapping[int, Path] | None:
        """Return the versions on disk; None if the base path cannot be read, which must not unload anything."""
        path = config.base_path
        try:
            paths = repository.scan(path)
        except ServingError as error:
            self._warn_once(f"Could not find base path {path} for servable {self.name} with error {error}")
            return None
        if not paths:
            self._warn_once(
                f"No versions of servable {self.name} found under base path {path}. "
                "Did you forget to name your leaf directory as a number (eg. '/1/')?"
            )
        if isinstance(config.policy, Specific):
            self._warn_of_missing(config.policy.versions, paths)
        return paths

    def _warn_of_missing(self, versions: frozenset[int], paths: Mapping[int, Path]) -> None:
        if not versions:
            self._warn_once(f"No specific versions requested for servable {self.name}.")
        for version in sorted(versions - paths.keys()):
            self._warn_once(
                f"Version {version} of servable {self.name}, which was requested to be served as a 'specific' version "
                "in the servable's version policy, was not found in the file system"
            )

    def _warn_once(self, problem: str) -> None:
        """Log a problem that every poll finds again, once until the next version is loaded."""
        if problem not in self._logged_warnings:
            _LOG.warning("%s", problem)
            self._logged_warnings.add(problem)

    def _is_due(self, version: int, path: Path) -> bool:
        """Return whether to load a version now."""
        entry = self._entry(version)
        has_failed = entry.status.state is State.END
        if entry.servable is not None or (has_failed and not self._retry_policy.after_changes):
            return False
        is_new = entry.fingerprint is None
        fingerprint = repository.fingerprint(path)
        if has_failed and fingerprint == entry.fingerprint:
            return False
        is_settled = is_new and repository.has_settled(fingerprint)
        if not is_new or is_settled:
            self._set_status(version, State.LOADING)
        if fingerprint != entry.fingerprint:
            entry.fingerprint, entry.retries, entry.retry_at_s = fingerprint, 0, 0.0
            if not is_settled:
                return False
        if time.monotonic() < entry.retry_at_s:
            return False
        missing = repository.missing_part(path, prefer_tflite=self._prefer_tflite)
        if missing:
            self._warn_of_missing_part(version, path, missing)
        return not (missing and self._schedule_retry(entry))

    def _warn_of_missing_part(self, version: int, path: Path, missing: str) -> None:
        problem = f"Version {version} of model {self.name} is not complete: {path / missing} is missing"
        has_tflite = (path / TFLITE_FILE).is_file()
        hint = f" ({TFLITE_FILE} is served only with --prefer_tflite_model)" if has_tflite else ""
        self._warn_once(problem + hint)

    def _entry(self, version: int) -> _Version:
        """Return the entry of a version that should be served; one that was removed and came back starts over."""
        entry = self._versions.get(version)
        if entry is None or (entry.status.state is State.END and not entry.is_aspired):
            entry = _Version(VersionStatus(version, State.START))
            with self._changed:
                self._versions[version] = entry
        return entry

    def _schedule_retry(self, entry: _Version) -> bool:
        """Schedule the next attempt after a failed one; return False if no retries are left."""
        if entry.retries >= self._retry_policy.count:
            return False
        entry.retries += 1
        entry.retry_at_s = time.monotonic() + self._retry_policy.interval_s
        return True

    def _load_version(self, version: int, path: Path) -> None:
        entry = self._versions[version]
        _LOG.info("Loading servable version {name: %s version: %d} from %s", self.name, version, path)
        started_s = time.monotonic()
        try:
            servable = self._load_servable(version, path)
        except ServingError as error:
            servable_id = f"{{name: {self.name} version: {version}}}"
            _LOG.error("Loading servable: %s failed: %s", servable_id, error)  # the message is enough
            if self._schedule_retry(entry):
                _LOG.info("Retrying of Loading servable: %s retry: %d", servable_id, entry.retries)
            else:
                self._set_status(version, State.END, error)
            return
        with self._changed:
            entry.servable = servable
        self._logged_warnings.clear()
        elapsed_s = time.monotonic() - started_s
        _LOG.info(
            "Successfully loaded servable version {name: %s version: %d} in %.2f s", self.name, version, elapsed_s
        )

    def _load_servable(self, version: int, path: Path) -> Servable:
        if path.is_file():
            raise FailedPreconditionError(
                "Error while attempting to reserve resources to load servable "
                f"{{name: {self.name} version: {version}}}: {path}; Not a directory"
            )
        try:
            return self._load(self.name, version, path)
        except ServingError:
            raise
        except Exception as error:  # whatever the cause, the version must not stay LOADING forever
            _LOG.exception("Loading version %d of model %s failed", version, self.name)
            raise ServingError(str(error), Code.INTERNAL) from error

    def _abandon_all_but(self, aspired: frozenset[int]) -> None:
        """Stop waiting for directories that were removed before they were complete."""
        for version, entry in self._versions.items():
            entry.is_aspired = version in aspired
            if not entry.is_aspired and entry.status.state in (State.START, State.LOADING):
                self._set_status(version, State.END)

    def _unload_all_but(self, aspired: frozenset[int]) -> list[int]:
        """Unload versions that should no longer be served, and return them; the caller sets their status."""
        with self._changed:
            serving = {version for version, entry in self._versions.items() if entry.servable is not None}
        # The old versions stay until a new one is loaded.
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

    def _set_status(self, version: int, state: State, error: ServingError | None = None) -> None:
        status = VersionStatus(version, state)
        if error is not None:
            status = VersionStatus(version, state, error.code, error.message)
        with self._changed:
            self._versions[version].status = status


def servable_not_found(name: str, version: int | None) -> NotFoundError:
    """Return the error for a model, or a version of it, that is not served."""
    request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return NotFoundError(f"Servable not found for request: {request}")
