"""Compute the chunks of jobs: predict, and decide what a failure means for an image, a chunk and a job."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from gateway.capacity import Admission, Place
from gateway.deadline import Deadline
from gateway.errors import (
    DeadlineExceededError,
    GatewayError,
    JobsFullError,
    JobsUnavailableError,
    ModelContractError,
    ModelNotFoundError,
    ModelUnavailableError,
    OverloadedError,
    VersionGoneError,
    VersionNotFoundError,
)
from gateway.http import problems
from gateway.jobs.records import Chunk, Item, ItemResult, Job, ModelVersion
from gateway.jobs.store import JobStore
from gateway.jobs.url_share import UrlShare
from gateway.jobs.wakeups import WakeUps
from gateway.models.registry import ModelTarget
from gateway.prediction.image_loader import ImageBytes, ImageUrl
from gateway.prediction.predictor import PredictionOptions, PredictionRequest, Predictor
from gateway.prediction.schemas import Prediction

WAITS = (ModelUnavailableError, OverloadedError, DeadlineExceededError, VersionGoneError)
"""Errors that pass by themselves: the chunk waits."""
GONE = (ModelNotFoundError, VersionNotFoundError, ModelContractError)
"""Errors of a model that does not come back, unless the model server is just starting."""
GONE_S = 20.0
"""How long a model server may take to load the models that it had."""
MAX_ATTEMPTS = 4
"""Attempts at a single image until its error is its result, if the error may pass by itself."""
MAX_GROUP_CLAIMS, MAX_CLAIMS = 2, 5
"""Claims of a chunk whose workers end, until its images are computed one by one, and until the first of them is given
up: it may be what ends them."""
MIN_WAIT_S, MAX_WAIT_S = 1.0, 30.0

log = structlog.get_logger(__name__)


class JobFailedError(Exception):
    """The job cannot be carried out, for a reason common to all its images."""

    def __init__(self, problem: Mapping[str, object]) -> None:
        super().__init__(problem["detail"])
        self.problem = problem


class ChunkWaitsError(Exception):
    """The chunk is to be tried again later; its images one by one if there were attempts."""

    def __init__(self, problem: Mapping[str, object], *, attempts: int) -> None:
        super().__init__(problem["detail"])
        self.problem = problem
        self.attempts = attempts


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """Limits on the work on a chunk.

    Attributes:
        deadline_s: Time for one call of the predictor.
        retry_s: How long a chunk is tried again until its job fails.
        url_chunks: Number of chunks with URLs at the same time.
    """

    deadline_s: float
    retry_s: float
    url_chunks: int = 1


class ChunkRunner:
    """Computes chunks; safe to use from many threads.

    Args:
        store: Where the jobs are.
        predictor: Classifies the images.
        admission: Bounds the memory and the images at the same time.
        limits: Limits on the work on a chunk.
    """

    def __init__(
        self,
        store: JobStore,
        predictor: Predictor,
        admission: Admission,
        limits: ChunkLimits,
    ) -> None:
        self._store = store
        self._predictor = predictor
        self._admission = admission
        self._limits = limits
        self._urls = UrlShare(limits.url_chunks)
        self._claimed: set[Chunk] = set()
        self._lock = threading.Lock()
        self._draining = threading.Event()

    def drain(self) -> None:
        """From now on, give chunks back after the call that is in progress."""
        self._draining.set()

    def renew_leases(self) -> None:
        """Keep the chunks that are being computed from being claimed by others."""
        with self._lock:
            chunks = list(self._claimed)
        if chunks:
            self._store.renew(chunks)

    def run(self, job_id: str, turn: int, wakeups: WakeUps) -> None:
        """Compute a chunk, if it is still this turn of a job: the next one of the client whose turn it is.

        The next turn of its job is another wake-up.
        """
        if self._draining.is_set():
            wakeups.wake(job_id, turn)  # for another worker
            return
        has_place = self._urls.enter()
        try:
            chunk = self._claim(job_id, turn, wakeups, may_fetch=has_place)
            if has_place and (chunk is None or not any(item.kind == "url" for item in chunk.items)):
                has_place = False
                self._leave(wakeups)
            if chunk is not None:
                names = {"job": chunk.job.id, "request_id": chunk.job.request.request_id}
                with structlog.contextvars.bound_contextvars(**names), self._held(chunk):
                    self._run(chunk)
        finally:
            if has_place:
                self._leave(wakeups)

    def _claim(self, job_id: str, turn: int, wakeups: WakeUps, *, may_fetch: bool) -> Chunk | None:
        """Claim a chunk of the client whose turn it is; the wake-up is kept if it was for another job."""
        found = self._store.next_turn(job_id, turn, urls=may_fetch)
        if found is None:
            return None
        if found.has_urls and not may_fetch:
            if not self._urls.defer((job_id, turn)):
                wakeups.wake(job_id, turn)
            return None
        if found.job_id != job_id:
            wakeups.wake(job_id, turn)
        chunk = self._store.claim(found.job_id, found.number)
        if chunk is not None and not chunk.is_last:
            wakeups.wake(chunk.job.id, chunk.turn)
        return chunk

    def _leave(self, wakeups: WakeUps) -> None:
        """Give the place of a chunk with URLs back, and wake a worker for one that was deferred."""
        deferred = self._urls.leave()
        if deferred is not None:
            wakeups.wake(*deferred)

    def _run(self, chunk: Chunk) -> None:
        """Compute a chunk, and record what became of it; if it cannot be recorded, the lease ends by itself."""
        try:
            self._settle(chunk)
        except (JobsFullError, JobsUnavailableError) as error:
            log.warning("job_storage_failed", reason=error.detail, cause=str(error.__cause__))

    def _settle(self, chunk: Chunk) -> None:
        try:
            self._compute(chunk)
        except JobFailedError as failure:
            self._fail(chunk, failure.problem)
        except ChunkWaitsError as failure:
            self._wait(chunk, failure)
        except JobsFullError as error:  # there is no space for the results, until other jobs expire
            self._wait(chunk, ChunkWaitsError(problems.make_item_problem(error), attempts=chunk.attempts))
        except JobsUnavailableError:
            raise
        except Exception:
            log.exception("chunk_failed", chunk=chunk.number)
            problem = problems.make_internal_item_problem("A chunk of the job could not be computed.")
            self._wait(chunk, ChunkWaitsError(problem, attempts=max(1, chunk.attempts)))

    def _compute(self, chunk: Chunk) -> None:
        """Predict all images at once or, after a failure, one by one.

        Raises:
            JobFailedError: The model cannot be used.
            ChunkWaitsError: Some images have no result yet.
        """
        if not chunk.items:  # the job was cancelled a moment ago
            return
        if chunk.claims > MAX_CLAIMS:
            log.error("image_given_up", chunk=chunk.number, index=chunk.items[0].index)
            self._store.complete(chunk, [_give_up(chunk.items[0])], None)
            self._store.release(chunk, 0.0, attempts=chunk.attempts, since=chunk.since)
            return
        is_last_attempt = chunk.attempts + 1 >= MAX_ATTEMPTS
        waiting: GatewayError | None = None
        for items in _groups(chunk):
            if self._draining.is_set():
                self._store.release(chunk, 0.0, attempts=chunk.attempts, since=chunk.since)
                return
            outcomes, version = self._predict(items, chunk)
            settled = [
                (item, outcome)
                for item, outcome in zip(items, outcomes, strict=True)
                if is_last_attempt or not isinstance(outcome, WAITS)
            ]
            results = [_make_result(*pair) for pair in settled]
            has_answer = not all(result.is_failed for result in results)
            if not self._store.complete(chunk, results, version if has_answer else None):
                self._store.release(chunk, 0.0, attempts=chunk.attempts, since=chunk.since)
                return
            if len(settled) < len(items):
                waiting = next(outcome for outcome in outcomes if isinstance(outcome, WAITS))
        if waiting is not None:
            raise ChunkWaitsError(problems.make_item_problem(waiting), attempts=chunk.attempts + 1)

    def _predict(
        self, items: Sequence[Item], chunk: Chunk
    ) -> tuple[Sequence[Prediction | GatewayError], ModelVersion | None]:
        """Return the outcome of each image, and the version that computed them.

        Raises:
            JobFailedError: The model cannot be used.
            ChunkWaitsError: No image can be classified at the moment.
        """
        deadline = Deadline.after(self._limits.deadline_s)
        try:
            place = self._admission.enter(f"job:{chunk.job.id}:{chunk.number}", deadline=deadline)
            try:
                result = self._predictor.predict(_make_request(items, chunk.job, deadline, place))
            finally:
                place.release()
        except GONE as error:
            raise _gone(error, chunk) from error
        except (ModelUnavailableError, OverloadedError, VersionGoneError) as error:
            raise ChunkWaitsError(problems.make_item_problem(error), attempts=chunk.attempts) from error
        except GatewayError as error:
            if len(items) > 1 or isinstance(error, WAITS):
                raise ChunkWaitsError(problems.make_item_problem(error), attempts=max(1, chunk.attempts)) from error
            return [error], None
        return result.predictions, ModelVersion(result.model.name, result.model.version)

    def _wait(self, chunk: Chunk, failure: ChunkWaitsError) -> None:
        """Give a chunk back for as long again as it has waited, or end its job if that is too long."""
        now = time.time()
        since = chunk.since or now
        if now - since >= self._limits.retry_s:
            self._fail(chunk, failure.problem)
            return
        wait_s = min(max(now - since, MIN_WAIT_S), MAX_WAIT_S)
        log.info("chunk_waits", chunk=chunk.number, wait_s=round(wait_s, 1), reason=failure.problem["detail"])
        self._store.release(chunk, wait_s, attempts=failure.attempts, since=since)

    def _fail(self, chunk: Chunk, problem: Mapping[str, object]) -> None:
        log.warning("job_failed", reason=problem["detail"])
        self._store.finish(chunk.job.id, "failed", problem)

    @contextmanager
    def _held(self, chunk: Chunk) -> Iterator[None]:
        with self._lock:
            self._claimed.add(chunk)
        try:
            yield
        finally:
            with self._lock:
                self._claimed.discard(chunk)


def _groups(chunk: Chunk) -> Sequence[Sequence[Item]]:
    """Return the images that are computed together: all, or after failures each by itself."""
    if chunk.attempts == 0 and chunk.claims <= MAX_GROUP_CLAIMS:
        return [chunk.items]
    return [[item] for item in chunk.items]


def _gone(error: GatewayError, chunk: Chunk) -> JobFailedError | ChunkWaitsError:
    """Return what a missing model means: a server that is starting may still load it.

    While it has no version of the model at all, it counts as away.
    """
    if error.members.get("versions") == []:
        return ChunkWaitsError(problems.make_item_problem(error), attempts=chunk.attempts)
    version = chunk.job.version
    if version is not None:
        error = VersionGoneError(
            f"Version {version} of {chunk.job.model}, which computed the results so far, is no longer served, and "
            "all results of a job come from one version. The results so far are kept. Create a job for the images "
            "without a result."
        )
    problem = problems.make_item_problem(error)
    if chunk.since is not None and time.time() - chunk.since >= GONE_S:
        return JobFailedError(problem)
    return ChunkWaitsError(problem, attempts=chunk.attempts)


def _make_request(items: Sequence[Item], job: Job, deadline: Deadline, place: Place) -> PredictionRequest:
    request = job.request
    target = ModelTarget(request.model, request.version, request.label)
    if job.version is not None:
        target = ModelTarget(job.model, job.version)
    return PredictionRequest(
        [ImageUrl(item.content.decode()) if item.kind == "url" else ImageBytes(item.content) for item in items],
        target,
        PredictionOptions(request.top_k, request.threshold),
        deadline,
        request.request_id,
        is_batch=True,
        place=place,
    )


def _give_up(item: Item) -> ItemResult:
    """Return the result of an image whose workers end: the cause may be the image, or lie outside."""
    detail = (
        f"{MAX_CLAIMS} workers ended while they computed this image. Send it again. If that happens once more, convert "
        "it to JPEG or PNG."
    )
    document = problems.make_internal_item_problem(detail)
    return ItemResult(item.index, item.name, is_failed=True, document=json.dumps(document))


def _make_result(item: Item, outcome: Prediction | GatewayError) -> ItemResult:
    is_failed = isinstance(outcome, GatewayError)
    document = problems.make_item_problem(outcome) if isinstance(outcome, GatewayError) else outcome
    return ItemResult(item.index, item.name, is_failed, json.dumps(document, ensure_ascii=False))
