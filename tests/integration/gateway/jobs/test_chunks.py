"""What failures and killed workers mean for the images, chunks and jobs in a real store."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.errors import (
    DeadlineExceededError,
    GatewayError,
    ImageUnreadableError,
    ModelFailedError,
    ModelUnavailableError,
    OverloadedError,
    VersionNotFoundError,
)
from gateway.jobs import chunks
from gateway.jobs.chunks import ChunkLimits, ChunkRunner
from gateway.jobs.records import Chunk, Item, Job, ModelVersion
from gateway.jobs.sqlite_store import SqliteStore
from tests.support.jobs import FakePredictor, add_job, make_admission, make_items, make_limits, results_of
from tests.support.killed_workers import CHUNKS, IMAGES
from tests.support.stack import ROOT

MIN_KILLS = 16


class WorkerKilled(BaseException):
    """Ends a worker wherever it is, without a chance to give its chunk back."""


class Queue(list[tuple[str, int]]):
    def wake(self, job_id: str, turn: int) -> None:
        self.append((job_id, turn))


class Bench:
    """One worker with a store, a fake predictor and a queue; no wait takes time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = SqliteStore(folder, make_limits())
        self.predictor = FakePredictor()
        self.queue = Queue()
        self.limits = ChunkLimits(deadline_s=60, retry_s=3600)

    def run(self, *, rounds: int = 1) -> Job:
        """Wake the worker for a number of rounds, each time for all that is due, and return the job."""
        runner = ChunkRunner(self.store, self.predictor, make_admission(), self.limits)
        for _ in range(rounds):
            job = self.job
            self.queue.append(("a", self.turn))
            while self.queue:
                runner.run(*self.queue.pop(0), self.queue)
            if job.is_finished:
                break
        return self.job

    @property
    def job(self) -> Job:
        job = self.store.find("a")
        assert job is not None
        return job

    @property
    def turn(self) -> int:
        with self.store._database.snapshot() as sql:
            return sql.execute("SELECT turn FROM jobs").fetchone()[0]

    @property
    def results(self) -> list[dict]:
        return [json.loads(result.document) for result in self.store.results("a", 0, 100, contiguous=False)]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(chunks, "MIN_WAIT_S", 0.0)
    monkeypatch.setattr(chunks, "MAX_WAIT_S", 0.0)
    bench = Bench(tmp_path)
    yield bench
    bench.store.close()


def failing(error: GatewayError, *, times: int, only: bytes | None = None):
    """Return a function that raises an error a number of times, or returns it for one image."""
    left = times

    def outcome(content: bytes) -> GatewayError | None:
        nonlocal left
        if left and (only is None or content == only):
            left -= 1
            if only is None:
                raise error
            return error
        return None

    return outcome


def test_workers_killed_between_any_two_steps_lose_nothing_and_answer_nothing_twice(tmp_path: Path):
    command = [sys.executable, "-m", "tests.support.killed_workers", tmp_path]

    subprocess.run(command, cwd=ROOT, check=True, timeout=100)

    folders = list(tmp_path.iterdir())
    assert len(folders) >= MIN_KILLS
    for folder in folders:
        store = SqliteStore(folder, make_limits())
        job = store.find("a")
        assert job is not None
        assert (job.status, job.total, job.answered, job.failed) == ("done", CHUNKS * IMAGES, CHUNKS * IMAGES, 0)
        results = store.results("a", 0, 100, contiguous=True)
        assert [json.loads(result.document)["class"] for result in results] == [
            f"image {index}" for index in range(CHUNKS * IMAGES)
        ]
        assert store.totals()["answered"] == CHUNKS * IMAGES
        store.close()


def test_jobs_take_turns(bench: Bench):
    add_job(bench.store, "b", [make_items(1), make_items(1, start=1)])
    add_job(bench.store, "a", [make_items(1), make_items(1, start=1)])
    bench.queue += [("b", 0), ("a", 0)]
    order = []
    runner = ChunkRunner(bench.store, bench.predictor, make_admission(), bench.limits)

    while bench.queue:
        order.append(bench.queue[0][0])
        runner.run(*bench.queue.pop(0), bench.queue)

    assert order == ["b", "a", "b", "a"]


def test_callers_take_turns_however_many_jobs_one_has(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    for name in ("a1", "a2", "a3", "a4", "b"):
        add_job(bench.store, name, [make_items(1), make_items(1, start=1)], client=name[0])
        bench.queue.wake(name, 0)
    order: list[str] = []
    runner = ChunkRunner(bench.store, bench.predictor, make_admission(), bench.limits)
    claim = bench.store.claim

    def record(job_id: str, turn: int) -> Chunk | None:
        chunk = claim(job_id, turn)
        order.extend([job_id] if chunk else [])
        return chunk

    monkeypatch.setattr(bench.store, "claim", record)
    while bench.queue:
        runner.run(*bench.queue.pop(0), bench.queue)

    assert sorted(order) == sorted(["a1", "a2", "a3", "a4", "b"] * 2)
    assert [name[0] for name in order[:4]] == ["a", "b", "a", "b"]


def test_chunks_with_urls_leave_threads_to_the_others(bench: Bench):
    urls = [[Item(number, "", "url", b"https://slow.example")] for number in range(2)]
    for name in ("u1", "u2"):
        add_job(bench.store, name, urls, client="u")
        bench.queue.wake(name, 0)
    add_job(bench.store, "a", [make_items(1)])
    bench.queue.wake("a", 0)
    runner = ChunkRunner(bench.store, bench.predictor, make_admission(), bench.limits)
    at_the_same_time: list[int] = []
    statuses: list[str] = []

    def fetch(content: bytes) -> None:
        """Take all that is in the queue while a chunk with URLs is slow, as another thread would."""
        if content.startswith(b"https"):
            at_the_same_time.append(1)
            while bench.queue:
                runner.run(*bench.queue.pop(0), bench.queue)
            statuses.append(bench.job.status)
            assert len(at_the_same_time) == 1
            at_the_same_time.clear()

    bench.predictor.outcome = fetch
    while bench.queue:
        runner.run(*bench.queue.pop(0), bench.queue)

    assert statuses == ["done"] * 4
    for name in ("u1", "u2"):
        job = bench.store.find(name)
        assert job is not None
        assert (job.status, job.answered) == ("done", 2)


def test_a_damaged_image_is_its_own_result(bench: Bench):
    add_job(bench.store, "a", [make_items(3)])
    bench.predictor.outcome = failing(ImageUnreadableError("damaged"), times=9, only=b"image 1")

    job = bench.run()

    assert (job.status, job.answered, job.failed) == ("done", 2, 1)
    assert bench.results[1]["type"] == "/problems/unreadable-image"
    assert bench.predictor.requests == [3]


@pytest.mark.parametrize(
    "error", [ModelUnavailableError("away"), OverloadedError("busy"), DeadlineExceededError("slow")]
)
def test_a_model_server_that_is_away_makes_the_chunk_wait_and_fails_no_image(bench: Bench, error: GatewayError):
    add_job(bench.store, "a", [make_items(2)])
    bench.predictor.outcome = failing(error, times=8)

    assert bench.run(rounds=3).status == "running"
    job = bench.run(rounds=9)

    assert (job.status, job.answered, job.failed) == ("done", 2, 0)


def test_a_model_server_that_stays_away_fails_the_job(bench: Bench):
    bench.limits = ChunkLimits(deadline_s=60, retry_s=0)
    add_job(bench.store, "a", [make_items(2)])
    bench.predictor.outcome = failing(ModelUnavailableError("away"), times=99)

    job = bench.run(rounds=2)

    assert (job.status, job.answered, job.failed) == ("failed", 0, 0)
    assert job.problem is not None
    assert job.problem["type"] == "/problems/model-unavailable"


def test_results_for_which_there_is_no_space_wait_until_there_is_some(bench: Bench, tmp_path: Path):
    add_job(bench.store, "a", [make_items(8)])
    bench.store.close()
    bench.store = SqliteStore(tmp_path, make_limits(max_stored_bytes=100))
    full = bench.run()

    bench.store.close()
    bench.store = SqliteStore(tmp_path, make_limits())
    job = bench.run(rounds=2)

    assert (full.status, full.answered, full.version) == ("running", 0, None)
    assert (job.status, job.answered) == ("done", 8)


def test_a_job_whose_results_find_no_space_fails_at_last(bench: Bench, tmp_path: Path):
    add_job(bench.store, "a", [make_items(8)])
    bench.store.close()
    bench.store = SqliteStore(tmp_path, make_limits(max_stored_bytes=100))
    bench.limits = ChunkLimits(deadline_s=60, retry_s=0)

    job = bench.run(rounds=2)

    assert (job.status, job.problem["type"]) == ("failed", "/problems/jobs-full")


def test_an_image_that_is_overloaded_alone_is_tried_again_and_the_others_are_answered_once(bench: Bench):
    add_job(bench.store, "a", [make_items(3)])
    bench.predictor.outcome = failing(OverloadedError("busy"), times=2, only=b"image 1")

    job = bench.run(rounds=3)

    assert (job.status, job.answered, job.failed) == ("done", 3, 0)
    assert bench.predictor.requests == [3, 1, 1]


def test_an_image_that_never_gets_by_has_its_error_as_result(bench: Bench):
    add_job(bench.store, "a", [make_items(2)])
    bench.predictor.outcome = failing(DeadlineExceededError("slow"), times=99, only=b"image 1")

    job = bench.run(rounds=chunks.MAX_ATTEMPTS)

    assert (job.status, job.answered, job.failed) == ("done", 1, 1)
    assert bench.results[1]["type"] == "/problems/deadline-exceeded"


def test_after_a_failure_of_all_images_each_is_tried_alone(bench: Bench):
    add_job(bench.store, "a", [make_items(3)])
    refused = failing(ModelFailedError("no"), times=99, only=b"image 1")

    def outcome(content: bytes) -> GatewayError | None:
        error = refused(content)
        if error is not None:
            raise error
        return None

    bench.predictor.outcome = outcome

    job = bench.run(rounds=2)

    assert (job.status, job.answered, job.failed) == ("done", 2, 1)
    assert bench.results[1]["type"] == "/problems/model-failed"


def test_a_version_that_goes_away_fails_the_job_and_keeps_its_results(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunks, "GONE_S", 0.0)
    add_job(bench.store, "a", [make_items(1), make_items(1, start=1)])
    gone = VersionNotFoundError("No version 1 of pets is served. Served: 2.", versions=[2], labels=[])

    def outcome(content: bytes) -> GatewayError | None:
        if content == b"image 1":
            raise gone
        return None

    bench.predictor.outcome = outcome

    job = bench.run(rounds=3)

    assert (job.status, job.answered) == ("failed", 1)
    assert job.problem is not None
    assert job.problem["type"] == "/problems/version-gone"
    assert "1 of pets" in job.problem["detail"]
    assert len(bench.results) == 1


def test_problems_choose_no_version(bench: Bench):
    add_job(bench.store, "a", [make_items(1), make_items(1, start=1)])
    bench.predictor.outcome = failing(ImageUnreadableError("damaged"), times=1, only=b"image 0")
    runner = ChunkRunner(bench.store, bench.predictor, make_admission(), bench.limits)

    runner.run("a", bench.turn, Queue())
    with_problem = bench.job
    bench.predictor.version = 2
    job = bench.run()

    assert (with_problem.failed, with_problem.version) == (1, None)
    assert (job.status, job.answered, job.version) == ("done", 1, 2)


def test_a_model_server_that_is_starting_fails_no_job(bench: Bench):
    add_job(bench.store, "a", [make_items(1)])
    bench.predictor.outcome = failing(VersionNotFoundError("none yet", versions=[], labels=[]), times=3)

    assert bench.run(rounds=5).status == "done"


def test_a_model_server_that_starts_after_a_long_outage_fails_no_job(bench: Bench):
    add_job(bench.store, "a", [make_items(1)])
    chunk = bench.store.claim("a", 0)
    assert chunk is not None
    bench.store.release(chunk, 0.0, attempts=0, since=time.time() - 600)
    bench.predictor.outcome = failing(VersionNotFoundError("none yet", versions=[], labels=[]), times=2)

    assert bench.run(rounds=4).status == "done"


def test_a_chunk_of_another_version_is_computed_anew_by_the_version_of_the_job(bench: Bench):
    add_job(bench.store, "a", [make_items(1), make_items(1, start=1)])
    first = bench.store.claim("a", 0)
    assert first is not None
    bench.predictor.version = 2

    def pin(_: bytes) -> None:  # another worker answers the first chunk by version 1 meanwhile
        bench.store.complete(first, results_of(first), ModelVersion("pets", 1))

    bench.predictor.outcome = pin

    job = bench.run(rounds=2)

    assert (job.status, job.version, job.answered) == ("done", 1, 2)


def test_a_bug_makes_the_chunk_wait(bench: Bench):
    add_job(bench.store, "a", [make_items(2)])
    calls = []

    def outcome(content: bytes) -> None:
        calls.append(content)
        if len(calls) == 1:
            raise ZeroDivisionError

    bench.predictor.outcome = outcome

    assert bench.run(rounds=2).status == "done"


def test_a_bug_that_stays_fails_the_job(bench: Bench):
    def outcome(_: bytes) -> None:
        raise ZeroDivisionError

    add_job(bench.store, "a", [make_items(2)])
    bench.predictor.outcome = outcome
    bench.limits = ChunkLimits(deadline_s=60, retry_s=0)

    job = bench.run()

    assert (job.status, job.problem["kind"], job.problem["type"]) == ("failed", "problem", "/problems/internal-error")


def test_a_worker_that_drains_gives_its_images_back(bench: Bench):
    add_job(bench.store, "a", [make_items(2)])
    runner = ChunkRunner(bench.store, bench.predictor, make_admission(), bench.limits)
    chunk = bench.store.claim("a", 0)
    assert chunk is not None
    bench.store.release(chunk, 0.0, attempts=1, since=1.0)  # one image at a time
    bench.predictor.outcome = lambda _: runner.drain()

    runner.run("a", chunk.turn, bench.queue)
    runner.run("a", chunk.turn + 1, bench.queue)

    assert len(bench.results) == 1
    assert bench.store.claim("a", chunk.turn + 1) is not None


def test_leases_are_renewed_while_a_chunk_is_computed(tmp_path: Path):
    store = SqliteStore(tmp_path, make_limits(lease_s=0.0))
    add_job(store, "a", [make_items(1)])
    patient = SqliteStore(tmp_path, make_limits(lease_s=60.0))
    predictor = FakePredictor()
    runner = ChunkRunner(patient, predictor, make_admission(), ChunkLimits(deadline_s=60, retry_s=60))
    other_claims = []

    def outcome(_: bytes) -> None:
        runner.renew_leases()
        other_claims.append(store.claim("a", 1))

    predictor.outcome = outcome
    runner.run("a", 0, Queue())

    assert other_claims == [None]
    for opened in (store, patient):
        opened.close()


def test_an_image_that_ends_its_workers_is_given_up_and_the_others_are_answered(bench: Bench):
    add_job(bench.store, "a", [make_items(3)])
    deaths = []

    def outcome(content: bytes) -> None:
        if content == b"image 1":
            deaths.append(content)
            raise WorkerKilled

    bench.predictor.outcome = outcome
    hurried = SqliteStore(bench.folder, make_limits(lease_s=0.0))
    runner = ChunkRunner(hurried, bench.predictor, make_admission(), bench.limits)

    while not bench.job.is_finished:
        with contextlib.suppress(WorkerKilled):
            runner.run("a", bench.turn, Queue())

    assert (bench.job.status, bench.job.answered, bench.job.failed) == ("done", 2, 1)
    assert [result.get("class") for result in bench.results] == ["image 0", None, "image 2"]
    assert (bench.results[1]["type"], bench.results[1]["status"]) == ("/problems/internal-error", 500)
    assert len(deaths) <= 3 * chunks.MAX_CLAIMS
    hurried.close()
