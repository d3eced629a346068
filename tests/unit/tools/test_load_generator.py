"""The load generator: what it counts, how it computes rates and percentiles, and the outcomes of image requests."""

import math
import threading
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.waiting import until
from tools.load_generator import OK, Call, ImageRequests, LoadGenerator, LoadResult

FAILED = "failed"


def make_result(*latencies_ms, outcome=OK, seconds=2.0):
    """Return a result with calls of these latencies."""
    return LoadResult([Call(0.0, latency_ms / 1e3, outcome) for latency_ms in latencies_ms], seconds, 1000)


def users_of(send, users=1):
    """Return a generator whose users share one function."""
    return LoadGenerator(lambda: nullcontext(send), users=users)


def test_percentiles_are_those_of_the_latencies():
    result = make_result(*range(1, 102))

    assert result.percentile_ms(50) == pytest.approx(51)
    assert result.percentile_ms(99) == pytest.approx(100)


def test_percentiles_and_rates_can_be_limited_to_an_outcome():
    calls = [*make_result(1, 1, 1).calls, *make_result(9, 9, outcome=FAILED).calls]
    result = LoadResult(calls, seconds=2.0, total=5)

    assert result.percentile_ms(50, FAILED) == pytest.approx(9)
    assert (result.rate(), result.rate(FAILED), result.rate(None)) == (1.5, 1.0, 2.5)
    assert result.counts == {OK: 3, FAILED: 2}
    assert result.failures == 2


def test_a_percentile_of_fewer_than_two_calls_is_infinite():
    assert make_result(5).percentile_ms(99) == math.inf
    assert make_result(5, 5).percentile_ms(99, FAILED) == math.inf


def test_every_user_makes_at_least_one_call():
    numbers = []

    result = users_of(lambda number: numbers.append(number) or OK, users=3).run(0)

    assert sorted(set(numbers))[:3] == [0, 1, 2]
    assert result.total == len(result.calls) == len(numbers)


def test_each_call_is_counted_with_its_outcome():
    result = users_of(lambda number: FAILED if number % 2 else OK).run(0.05)

    assert result.counts.total() == result.total > 2
    assert abs(result.counts[OK] - result.counts[FAILED]) <= 1


def test_without_a_warm_up_the_measurement_lasts_until_the_last_call_has_ended():
    may_end = threading.Event()
    timer = threading.Timer(0.2, may_end.set)
    timer.start()

    result = users_of(lambda _: may_end.wait(10) and OK).run(0)

    timer.join()
    assert result.seconds >= result.calls[0].latency_s > 0.1


def test_calls_of_the_warm_up_are_not_measured():
    result = users_of(lambda _: OK).run(0.05, warm_up_s=0.05)

    assert 0 < len(result.calls) < result.total
    assert result.seconds == 0.05


def test_a_paused_load_starts_no_calls():
    with users_of(lambda _: OK, users=2) as load:
        load.await_successes(10)

        load.pause()
        until(lambda: load.counts.total() == load.counts.total(), what="no call in progress")
        load.resume()

        load.await_successes(10)
    assert load.counts[OK] == len(load.calls) >= 20


def test_an_exception_of_a_call_is_raised_when_the_load_ends():
    def send(_):
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        users_of(send).run(0)


def test_an_exception_of_a_call_ends_a_wait():
    def send(_):
        raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"), users_of(send) as load:
        load.await_successes(1)


def test_the_slowest_call_of_an_outcome_is_known():
    load = users_of(lambda _: FAILED)

    load.run(0)

    assert load.slowest_s(FAILED) == max(call.latency_s for call in load.calls)
    assert load.slowest_s(OK) == 0


def test_each_user_opens_and_closes_its_own_connection():
    events = []

    @contextmanager
    def connect():
        events.append("open")
        yield lambda _: OK
        events.append("close")

    LoadGenerator(connect, users=2).run(0)

    assert sorted(events) == ["close", "close", "open", "open"]


class Service(ThreadingHTTPServer):
    """Answers every `fail_every`-th request with 503 and the others with 200, and records them."""

    daemon_threads = True

    def __init__(self, fail_every):
        super().__init__(("127.0.0.1", 0), Handler)
        self.fail_every, self.requests, self.lock = fail_every, [], threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/predict"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.requests.append((self.path, body))
            number = len(self.server.requests)
        failed = self.server.fail_every and number % self.server.fail_every == 0
        self.send_response(503 if failed else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Log nothing."""


@pytest.fixture
def serve():
    services = []

    def serve(fail_every=0):
        service = Service(fail_every)
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        services.append((service, thread))
        return service

    yield serve
    for service, thread in services:
        service.shutdown()
        service.server_close()
        thread.join()


def send_images(url):
    return LoadGenerator(ImageRequests(url, [b"one", b"two"]).connect, users=3).run(0.2)


def test_images_are_sent_in_turn(serve):
    service = serve()

    result = send_images(service.url)

    assert set(service.requests) == {("/predict", b"one"), ("/predict", b"two")}
    assert result.counts == {OK: len(service.requests)}


def test_any_status_but_200_is_a_failure(serve):
    result = send_images(serve(fail_every=2).url)

    assert set(result.counts) == {OK, "status 503"}
    assert result.failures == result.counts["status 503"]


def test_a_refused_connection_is_a_failure():
    result = send_images("http://127.0.0.1:1/predict")

    assert set(result.counts) == {"ConnectionRefusedError"}
    assert result.rate() == 0
