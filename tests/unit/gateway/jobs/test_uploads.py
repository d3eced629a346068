"""Uploads of jobs: what arrives is in a file, and whatever goes wrong is an error with a reason."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import IO, Any

import pytest
from flask import Request
from werkzeug.exceptions import ClientDisconnected
from werkzeug.test import EnvironBuilder

from gateway.deadline import Deadline
from gateway.errors import (
    BadRequestError,
    BodyTimeoutError,
    BodyTooLargeError,
    JobsFullError,
    JobsUnavailableError,
    OverloadedError,
)
from gateway.http import bodies
from gateway.jobs import uploads
from gateway.jobs.sqlite_store import SqliteStore
from gateway.jobs.uploads import SILENCE_S, SLOWEST_S, STEP_BYTES, ReceivingLimits, UploadPlaces, receive
from tests.support.jobs import add_job, make_items, make_limits
from tests.support.waiting import LONG_S, until

LIMIT = 1_000_000
MIN_RATE = 1000
LIMITS = ReceivingLimits(LIMIT, MIN_RATE)
FULL_DISK = Path("/dev/full")


def request_of(body: bytes, **environ: Any) -> Request:
    return Request({**EnvironBuilder(method="POST", data=body).get_environ(), **environ})


def chunked(body: bytes, **environ: Any) -> Request:
    request = request_of(body, **{"wsgi.input_terminated": True, **environ})
    request.environ.pop("CONTENT_LENGTH", None)
    return request


@pytest.mark.parametrize("make", [request_of, chunked])
@pytest.mark.parametrize("body", [b"", b"x", bytes(range(256)) * 3000])
def test_a_body_can_be_read_from_the_file(tmp_path: Path, deadline: Deadline, make: Any, body: bytes):
    with receive(make(body), tmp_path, LIMITS, deadline=deadline) as received:
        assert received[:] == body

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("make", [request_of, chunked])
def test_a_body_that_is_too_large_is_refused(tmp_path: Path, deadline: Deadline, make: Any):
    with (
        pytest.raises(BodyTooLargeError, match="at most 1 MB"),
        receive(make(bytes(LIMIT + 1)), tmp_path, LIMITS, deadline=deadline),
    ):
        pass


def test_a_body_that_ends_too_early_is_not_a_job(tmp_path: Path, deadline: Deadline):
    request = request_of(b"half", CONTENT_LENGTH="8")

    with pytest.raises(ClientDisconnected), receive(request, tmp_path, LIMITS, deadline=deadline):
        pass


class SlowConnection:
    """Both a stream and its connection, whose reads end by a time-out."""

    read_by_s = max_silence_s = 0.0

    def read(self, _: int) -> bytes:
        assert self.read_by_s > time.monotonic()
        assert self.max_silence_s == uploads.SILENCE_S
        raise TimeoutError


def test_a_sender_that_stops_is_given_up(tmp_path: Path, deadline: Deadline):
    slow = SlowConnection()
    request = request_of(b"x", **{"wsgi.input": slow, "gunicorn.socket": slow})

    with pytest.raises(BodyTimeoutError), receive(request, tmp_path, LIMITS, deadline=deadline):
        pass
    assert slow.read_by_s == slow.max_silence_s == float("inf")


def test_a_slow_but_steady_sender_has_until_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    deadline = Deadline.after(SILENCE_S / 2)
    slow = SlowConnection()
    moments = []

    def read(size: int) -> bytes:
        moments.append(slow.read_by_s)
        return b"x" * min(size, 2)

    monkeypatch.setattr(slow, "read", read)
    request = request_of(b"", CONTENT_LENGTH="6", **{"wsgi.input": slow, "gunicorn.socket": slow})

    with receive(request, tmp_path, LIMITS, deadline=deadline) as body:
        assert body[:] == b"x" * 6

    assert moments == [deadline.at_s] * 3


class PacedConnection:
    """Both a stream and its connection, with a clock of its own.

    Args:
        pieces: Numbers of bytes, and in how many seconds each of them arrives.
    """

    def __init__(self, *pieces: tuple[float, float]) -> None:
        self.read_by_s = self.max_silence_s = 0.0
        self.now_s = self.started_s = time.monotonic()
        self._pieces = list(pieces)

    def monotonic(self) -> float:
        return self.now_s

    def read(self, size: int) -> bytes:
        left: float = size
        while left > 0 and self._pieces:
            bytes_of_piece, seconds = self._pieces.pop(0)
            taken = min(left, bytes_of_piece)
            self.now_s += seconds * taken / bytes_of_piece
            if bytes_of_piece > taken:
                self._pieces.insert(0, (bytes_of_piece - taken, seconds * (1 - taken / bytes_of_piece)))
            left -= taken
        if self.now_s > self.read_by_s:
            self.now_s = self.read_by_s
            raise TimeoutError
        return b"x" * (size - round(left))


@pytest.fixture
def receive_paced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., float]:
    """Return a function that receives what arrives at a pace, and returns the seconds that it took."""

    def receive_paced(*pieces: tuple[float, float], make: Callable[..., Request] = request_of) -> float:
        connection = PacedConnection(*pieces)
        monkeypatch.setattr(uploads, "time", connection)
        size = round(sum(size for size, _ in pieces))
        request = make(b"", **{"wsgi.input": connection, "gunicorn.socket": connection})
        if make is request_of:
            request.environ["CONTENT_LENGTH"] = str(size)
        deadline = Deadline(connection.started_s + 10_000, 10_000)
        try:
            with receive(request, tmp_path, LIMITS, deadline=deadline) as body:
                assert len(body) == size
        except BodyTimeoutError as error:
            assert "1 kB per second" in error.detail  # noqa: PT017  # the time is what the test is about
            return connection.started_s - connection.now_s
        return connection.now_s - connection.started_s

    return receive_paced


@pytest.mark.parametrize(
    "pieces",
    [
        [(LIMIT, LIMIT / MIN_RATE)],
        [(LIMIT, 1)],
        [(8000, 17)],
        [(1, 9)],
        [(20_000, 1), (1, 9), (20_000, 10), (1, 9)],
        [(STEP_BYTES, 60), (1, 9), (STEP_BYTES, 60)] * 7,
    ],
)
def test_a_sender_that_is_fast_enough_on_average_has_time(
    receive_paced: Callable[..., float], pieces: list[tuple[float, float]]
):
    assert receive_paced(*pieces) == pytest.approx(sum(seconds for _, seconds in pieces))


@pytest.mark.parametrize("make", [request_of, chunked])
@pytest.mark.parametrize(
    "pieces",
    [
        [(1, 6)] * 100,
        [(LIMIT / 2, LIMIT / MIN_RATE)],
        [(LIMIT * 0.9, LIMIT / MIN_RATE)],
    ],
)
def test_a_sender_that_is_too_slow_on_average_is_given_up(
    receive_paced: Callable[..., float], pieces: list[tuple[float, float]], make: Callable[..., Request]
):
    rate = pieces[0][0] / pieces[0][1]
    latest_s = SLOWEST_S / (1 - rate / MIN_RATE)

    assert 0 > receive_paced(*pieces, make=make) >= -latest_s


def test_having_been_fast_gives_no_credit_of_hours(receive_paced: Callable[..., float]):
    assert receive_paced((LIMIT / 2, 1), *[(1, 6)] * 100) >= -(1 + SLOWEST_S)


def test_a_body_in_very_many_chunks_is_refused(tmp_path: Path, deadline: Deadline, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bodies, "MAX_CHUNKS_CPU_S", -1)

    with receive(request_of(b"x"), tmp_path, LIMITS, deadline=deadline) as body:
        assert body[:] == b"x"
    with (
        pytest.raises(BadRequestError, match="too many chunks"),
        receive(chunked(b"x"), tmp_path, LIMITS, deadline=deadline),
    ):
        pass


@pytest.mark.skipif(not FULL_DISK.exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("size", [1, 100, 500_000])
def test_a_full_disk_is_an_error_of_its_own(
    tmp_path: Path, deadline: Deadline, monkeypatch: pytest.MonkeyPatch, size: int
):
    def full_file(*, buffering: int = -1, **_: object) -> IO[bytes]:
        return FULL_DISK.open("wb", buffering=buffering)

    monkeypatch.setattr(uploads.tempfile, "TemporaryFile", full_file)

    with (
        pytest.raises(JobsFullError),
        receive(request_of(bytes(size)), tmp_path, LIMITS, deadline=deadline),
    ):
        pass


def test_a_folder_that_cannot_be_used_is_an_error_of_its_own(tmp_path: Path, deadline: Deadline):
    (tmp_path / "file").touch()

    with (
        pytest.raises(JobsUnavailableError),
        receive(request_of(b"x"), tmp_path / "file", LIMITS, deadline=deadline),
    ):
        pass


def test_a_full_database_refuses_a_job_and_keeps_the_others(tmp_path: Path):
    store = SqliteStore(tmp_path, make_limits())
    add_job(store, "a", [make_items(1)])
    with store._database.snapshot() as sql:
        (pages,) = sql.execute("PRAGMA page_count").fetchone()
    store._database._connect().execute(f"PRAGMA max_page_count = {pages + 2}")

    with pytest.raises(JobsFullError):
        add_job(store, "b", [make_items(1000)])

    assert store.find("a") is not None
    assert store.find("b") is None
    store.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_one_client_gets_at_most_half_of_the_places(stack: ExitStack, deadline: Deadline):
    places = UploadPlaces(4, max_wait_s=0.0)
    for client in ("a", "a", "b"):
        stack.enter_context(places.occupy(client, deadline=deadline))

    with pytest.raises(OverloadedError), places.occupy("a", deadline=deadline):
        pass
    stack.enter_context(places.occupy("b", deadline=deadline))
    with pytest.raises(OverloadedError), places.occupy("c", deadline=deadline):
        pass


def test_of_those_that_wait_the_client_with_the_fewest_uploads_is_next(stack: ExitStack, deadline: Deadline):
    places = UploadPlaces(4, max_wait_s=30.0)
    first = ExitStack()
    first.enter_context(places.occupy("a", deadline=deadline))
    for client in ("a", "b", "b"):
        stack.enter_context(places.occupy(client, deadline=deadline))
    entered: list[str] = []
    is_over = Event()

    def upload(client: str) -> None:
        with places.occupy(client, deadline=deadline):
            entered.append(client)
            is_over.wait(LONG_S)

    with ThreadPoolExecutor(3) as pool:
        for waiting, client in enumerate(("a", "b", "c"), 1):
            pool.submit(upload, client)
            until(lambda waiting=waiting: places._waiting.total() == waiting)

        first.close()
        until(lambda: entered)
        is_over.set()
        stack.close()

    assert entered[0] == "c"
    assert sorted(entered) == ["a", "b", "c"]


def test_the_only_upload_of_a_client_outwaits_slow_senders(deadline: Deadline):
    places = UploadPlaces(2, max_wait_s=0.0, patience_s=LONG_S)
    entered = []

    def upload() -> None:
        with places.occupy("c", deadline=deadline):
            entered.append("c")

    with ThreadPoolExecutor(1) as pool, places.occupy("b", deadline=deadline):
        with places.occupy("a", deadline=deadline):
            pool.submit(upload)
            until(lambda: places._waiting["c"])
            for client in ("a", "b", "c"):
                with pytest.raises(OverloadedError), places.occupy(client, deadline=deadline):
                    pass
        until(lambda: entered)


def test_an_upload_waits_for_a_place(deadline: Deadline):
    places = UploadPlaces(1, max_wait_s=30.0)
    entered = []

    def upload() -> None:
        with places.occupy("b", deadline=deadline):
            entered.append("b")

    with ThreadPoolExecutor(1) as pool, places.occupy("a", deadline=deadline):
        pool.submit(upload)
        until(lambda: places._condition._waiters)
        assert entered == []

    assert entered == ["b"]
