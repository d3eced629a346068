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


def admission(slots: int = 1, max_waiting: int = 0, max_wait_s: float = 10) -> Admission:
    return Admission(slots=slots, max_waiting=max_waiting, max_wait_s=max_wait_s)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


# The places


def test_as_many_as_there_are_places_are_let_in_and_no_more(deadline: Deadline):
    gate = admission(slots=3)
    places = [gate.acquire(deadline=deadline) for _ in range(3)]
    with pytest.raises(OverloadedError):
        gate.acquire(deadline=deadline)
    places[1].release()
    gate.acquire(deadline=deadline)
    with pytest.raises(OverloadedError):
        gate.acquire(deadline=deadline)


def test_who_waits_is_let_in_when_a_place_is_left(pool: ThreadPoolExecutor, deadline: Deadline):
    gate = admission(max_waiting=1)
    first = gate.acquire(deadline=deadline)
    second = pool.submit(gate.acquire, deadline=deadline)
    until(lambda: refuses(gate, deadline), what="one waits")
    assert not second.done()
    first.release()
    second.result(10).release()
    gate.acquire(deadline=deadline)


def refuses(gate: Admission, deadline: Deadline) -> bool:
    """Tell whether nobody more may even wait; may itself wait for a moment."""
    try:
        gate.acquire(deadline=deadline.no_later_than(0.01))
    except OverloadedError as error:
        return "More requests" in error.detail and len(gate._waiting) == gate._max_waiting
    return False


def test_they_are_let_in_in_the_order_they_came(deadline: Deadline):
    gate = admission(max_waiting=5)
    first = gate.acquire(deadline=deadline)
    order: list[int] = []

    def take(number: int) -> None:
        place = gate.acquire(deadline=deadline)
        order.append(number)
        place.release()

    threads = []
    for number in range(5):
        threads.append(threading.Thread(target=take, args=(number,)))
        threads[-1].start()
        until(lambda number=number: len(gate._waiting) == number + 1)
    first.release()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2, 3, 4]


def test_nobody_waits_longer_than_may_be(deadline: Deadline):
    gate = admission(max_waiting=1, max_wait_s=0.02)
    place = gate.acquire(deadline=deadline)
    for _ in range(3):  # one that gave up does not stand in the queue any more
        with pytest.raises(OverloadedError):
            gate.acquire(deadline=deadline)
    place.release()
    gate.acquire(deadline=deadline)


def test_nobody_waits_longer_than_its_own_deadline(deadline: Deadline):
    gate = admission(max_waiting=1, max_wait_s=1000)
    gate.acquire(deadline=deadline)
    with pytest.raises(OverloadedError):
        gate.acquire(deadline=Deadline.after(0.02))
    with pytest.raises(DeadlineExceededError):
        gate.acquire(deadline=Deadline.after(0))


def test_a_batch_counts_for_each_of_its_images(deadline: Deadline):
    gate = admission(slots=4)
    batch = gate.acquire(deadline=deadline)
    batch.resize(3)
    single = gate.acquire(deadline=deadline)
    with pytest.raises(OverloadedError):
        gate.acquire(deadline=deadline)
    batch.release()
    for _ in range(3):
        gate.acquire(deadline=deadline)
    with pytest.raises(OverloadedError):
        gate.acquire(deadline=deadline)
    single.release()
    gate.acquire(deadline=deadline)


def test_a_batch_larger_than_all_places_is_let_in_and_then_nobody_else(deadline: Deadline):
    gate = admission(slots=2)
    batch = gate.acquire(deadline=deadline)
    batch.resize(64)
    with pytest.raises(OverloadedError):
        gate.acquire(deadline=deadline)
    batch.release()
    gate.acquire(deadline=deadline)


def test_places_are_neither_lost_nor_made_by_many_at_once(pool: ThreadPoolExecutor, deadline: Deadline):
    gate = admission(slots=3, max_waiting=1000)
    inside, most, lock = 0, 0, threading.Lock()

    def visit(_: int) -> None:
        nonlocal inside, most
        place = gate.acquire(deadline=deadline)
        with lock:
            inside += 1
            most = max(most, inside)
        with lock:
            inside -= 1
        place.release()

    list(pool.map(visit, range(2000)))
    assert (inside, gate._occupied, len(gate._waiting)) == (0, 0, 0)
    assert 1 <= most <= 3


# In front of the API


@pytest.fixture
def held(server: FakeModelServer) -> Iterator[threading.Event]:
    """Keep every prediction until it is let go."""
    let_go = threading.Event()
    server.before["predict"] = lambda: let_go.wait(30) and None
    yield let_go
    let_go.set()


@pytest.fixture
def busy(
    make_app: Callable[..., Flask], server: FakeModelServer, held: threading.Event, png: bytes, pool: ThreadPoolExecutor
) -> Iterator[tuple[Flask, list[Future[TestResponse]]]]:
    """Have an app of two places with two predictions under way, which end with `held`."""
    app = make_app(threads=2, max_waiting=0)
    held.set()
    assert ask(app, png).status_code == 200  # the card is known now
    assert app.test_client().get("/readyz").status_code == 200  # and the version is proven
    held.clear()
    before = server.calls["predict"]
    asked = [pool.submit(ask, app, png) for _ in range(2)]
    until(lambda: server.calls["predict"] == before + 2)
    yield app, asked
    held.set()


def ask(app: Flask, png: bytes) -> TestResponse:
    return app.test_client().post(PREDICT, data=png, content_type="image/png")


def test_too_many_predictions_are_refused_with_a_time_to_come_back(
    busy: tuple[Flask, list[Future[TestResponse]]], held: threading.Event, server: FakeModelServer, png: bytes
):
    app, asked = busy
    before = server.calls["predict"]
    response = ask(app, png)
    assert (response.status_code, response.get_json(force=True)["type"]) == (503, "/problems/overloaded")
    assert int(response.headers["Retry-After"]) > 0
    assert server.calls["predict"] == before
    held.set()
    assert [future.result(10).status_code for future in asked] == [200, 200]
    assert ask(app, png).status_code == 200


def test_whoever_asks_for_models_is_refused_too(busy: tuple[Flask, list[Future[TestResponse]]]):
    for path in ("/api/v1/models", "/api/v1/models/pets"):
        assert busy[0].test_client().get(path).status_code == 503


def test_health_and_pages_answer_meanwhile(busy: tuple[Flask, list[Future[TestResponse]]]):
    for path in ("/livez", "/readyz", "/metrics", "/api/v1/openapi.json"):
        assert busy[0].test_client().get(path).status_code == 200


def test_a_place_is_left_whatever_comes_of_a_request(
    make_app: Callable[..., Flask], server: FakeModelServer, png: bytes
):
    app = make_app(threads=1, max_waiting=0)
    server.before["predict"] = lambda: 1 // 0
    assert ask(app, png).status_code == 500
    assert app.test_client().post(PREDICT, data=b"", content_type="image/png").status_code == 400
    assert app.test_client().get("/api/v1/models/nobody").status_code == 404
    server.before.clear()
    assert ask(app, png).status_code == 200


def test_a_batch_holds_as_many_places_as_it_has_images(
    make_app: Callable[..., Flask],
    server: FakeModelServer,
    held: threading.Event,
    png: bytes,
    pool: ThreadPoolExecutor,
):
    app = make_app(threads=3, max_waiting=0)
    held.set()
    assert ask(app, png).status_code == 200
    held.clear()
    before = server.calls["predict"]
    files = [(io.BytesIO(png), f"{number}.png") for number in range(3)]
    batch = pool.submit(app.test_client().post, PREDICT, data={"image": files})
    until(lambda: server.calls["predict"] == before + 1)
    assert ask(app, png).status_code == 503
    held.set()
    assert len(batch.result(10).get_json()["results"]) == 3
    assert ask(app, png).status_code == 200
