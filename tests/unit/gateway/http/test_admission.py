import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, OverloadedError
from gateway.http.admission import Admission
from tests.support.fake_model_server import FakeModelServer
from tests.support.waiting import until

PREDICT = "/api/v1/predict"


def make_admission(slots: int = 1, max_waiting: int = 0, max_wait_s: float = 10) -> Admission:
    return Admission(slots=slots, max_waiting=max_waiting, max_wait_s=max_wait_s)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


# Slots


def test_as_many_requests_are_admitted_as_there_are_slots(deadline: Deadline):
    admission = make_admission(slots=3)
    slots = [admission.acquire(deadline=deadline) for _ in range(3)]
    with pytest.raises(OverloadedError):
        admission.acquire(deadline=deadline)

    slots[1].release()

    admission.acquire(deadline=deadline)
    with pytest.raises(OverloadedError):
        admission.acquire(deadline=deadline)


def test_a_waiting_request_is_admitted_when_a_slot_is_released(pool: ThreadPoolExecutor, deadline: Deadline):
    admission = make_admission(max_waiting=1)
    first = admission.acquire(deadline=deadline)
    second = pool.submit(admission.acquire, deadline=deadline)
    until(lambda: is_full(admission, deadline), what="one waits")
    assert not second.done()

    first.release()

    second.result(10).release()
    admission.acquire(deadline=deadline)


def is_full(admission: Admission, deadline: Deadline) -> bool:
    """Return whether no further request may wait; this may itself wait for a moment."""
    try:
        admission.acquire(deadline=deadline.no_later_than(0.01))
    except OverloadedError as error:
        return "More requests" in error.detail and len(admission._waiting) == admission._max_waiting
    return False


def test_requests_are_admitted_in_the_order_of_their_arrival(deadline: Deadline):
    admission = make_admission(max_waiting=5)
    first = admission.acquire(deadline=deadline)
    order: list[int] = []

    def enter(number: int) -> None:
        slot = admission.acquire(deadline=deadline)
        order.append(number)
        slot.release()

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=enter, args=(number,)))
        threads[-1].start()
        until(lambda number=number: len(admission._waiting) == number + 1)

    first.release()
    for thread in threads:
        thread.join()

    assert order == [0, 1, 2, 3, 4]


def test_no_request_waits_longer_than_the_limit(deadline: Deadline):
    admission = make_admission(max_waiting=1, max_wait_s=0.02)
    slot = admission.acquire(deadline=deadline)

    for _ in range(3):  # a request that gave up has left the queue
        with pytest.raises(OverloadedError):
            admission.acquire(deadline=deadline)

    slot.release()
    admission.acquire(deadline=deadline)


def test_no_request_waits_longer_than_its_deadline(deadline: Deadline):
    admission = make_admission(max_waiting=1, max_wait_s=1000)
    admission.acquire(deadline=deadline)

    with pytest.raises(OverloadedError):
        admission.acquire(deadline=Deadline.after(0.02))
    with pytest.raises(DeadlineExceededError):
        admission.acquire(deadline=Deadline.after(0))


def test_a_batch_occupies_a_slot_for_each_of_its_images(deadline: Deadline):
    admission = make_admission(slots=4)
    batch = admission.acquire(deadline=deadline)
    batch.resize(3)
    single = admission.acquire(deadline=deadline)
    with pytest.raises(OverloadedError):
        admission.acquire(deadline=deadline)

    batch.release()
    for _ in range(3):
        admission.acquire(deadline=deadline)
    with pytest.raises(OverloadedError):
        admission.acquire(deadline=deadline)

    single.release()
    admission.acquire(deadline=deadline)


def test_a_batch_with_more_images_than_slots_is_admitted_and_excludes_others(deadline: Deadline):
    admission = make_admission(slots=2)
    batch = admission.acquire(deadline=deadline)
    batch.resize(64)
    with pytest.raises(OverloadedError):
        admission.acquire(deadline=deadline)

    batch.release()
    admission.acquire(deadline=deadline)


def test_concurrent_requests_neither_lose_nor_add_slots(pool: ThreadPoolExecutor, deadline: Deadline):
    admission = make_admission(slots=3, max_waiting=1000)
    inside, most, lock = 0, 0, threading.Lock()

    def visit(_: int) -> None:
        nonlocal inside, most
        slot = admission.acquire(deadline=deadline)
        with lock:
            inside += 1
            most = max(most, inside)
        with lock:
            inside -= 1
        slot.release()

    list(pool.map(visit, range(2000)))

    assert (inside, admission._occupied, len(admission._waiting)) == (0, 0, 0)
    assert 1 <= most <= 3


# In front of the API


@pytest.fixture
def unblock(server: FakeModelServer) -> Iterator[threading.Event]:
    """Block every prediction until the event is set."""
    unblock = threading.Event()
    server.before["predict"] = lambda: unblock.wait(30) and None
    yield unblock
    unblock.set()


@pytest.fixture
def busy(
    make_app: Callable[..., Flask],
    server: FakeModelServer,
    unblock: threading.Event,
    png: bytes,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[Flask, list[Future[TestResponse]]]]:
    """Return an app of two slots, and the responses to two predictions in progress, which end with `unblock`."""
    app = make_app(threads=2, max_waiting=0)
    unblock.set()
    assert predict(app, png).status_code == 200  # reads the card
    assert app.test_client().get("/readyz").status_code == 200  # checks the version
    unblock.clear()
    before = server.calls["predict"]
    pending = [pool.submit(predict, app, png) for _ in range(2)]
    until(lambda: server.calls["predict"] == before + 2)
    yield app, pending
    unblock.set()


def predict(app: Flask, png: bytes) -> TestResponse:
    return app.test_client().post(PREDICT, data=png, content_type="image/png")


def test_a_prediction_beyond_the_limit_is_refused_with_retry_after(
    busy: tuple[Flask, list[Future[TestResponse]]], unblock: threading.Event, server: FakeModelServer, png: bytes
):
    app, pending = busy
    before = server.calls["predict"]

    response = predict(app, png)

    assert (response.status_code, response.get_json(force=True)["type"]) == (503, "/problems/overloaded")
    assert int(response.headers["Retry-After"]) > 0
    assert server.calls["predict"] == before

    unblock.set()
    assert [future.result(10).status_code for future in pending] == [200, 200]
    assert predict(app, png).status_code == 200


def test_requests_about_models_are_refused_too(busy: tuple[Flask, list[Future[TestResponse]]]):
    for path in ("/api/v1/models", "/api/v1/models/pets"):
        assert busy[0].test_client().get(path).status_code == 503, path


def test_health_checks_and_the_openapi_document_are_not_refused(busy: tuple[Flask, list[Future[TestResponse]]]):
    for path in ("/livez", "/readyz", "/metrics", "/api/v1/openapi.json"):
        assert busy[0].test_client().get(path).status_code == 200, path


def test_a_slot_is_released_when_a_request_fails(make_app: Callable[..., Flask], server: FakeModelServer, png: bytes):
    app = make_app(threads=1, max_waiting=0)
    server.before["predict"] = lambda: 1 // 0
    assert predict(app, png).status_code == 500
    assert app.test_client().post(PREDICT, data=b"", content_type="image/png").status_code == 400
    assert app.test_client().get("/api/v1/models/unknown").status_code == 404

    server.before.clear()
    assert predict(app, png).status_code == 200


def test_a_batch_in_progress_leaves_no_slot_for_others(
    make_app: Callable[..., Flask],
    server: FakeModelServer,
    unblock: threading.Event,
    png: bytes,
    pool: ThreadPoolExecutor,
):
    app = make_app(threads=3, max_waiting=0)
    unblock.set()
    assert predict(app, png).status_code == 200
    unblock.clear()
    before = server.calls["predict"]
    files = [(io.BytesIO(png), f"{number}.png") for number in range(3)]
    batch = pool.submit(app.test_client().post, PREDICT, data={"image": files})
    until(lambda: server.calls["predict"] == before + 1)
    assert predict(app, png).status_code == 503

    unblock.set()
    assert len(batch.result(10).get_json()["results"]) == 3
    assert predict(app, png).status_code == 200
