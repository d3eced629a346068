import io
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from limits import parse_many
from limits.errors import StorageError
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from gateway.access import rate_limits, window_counts
from gateway.access.rate_limits import RateLimiter
from gateway.access.window_counts import WindowCounts
from gateway.settings import Settings, SettingsError
from image_gateway_client.keys import add_key, hash_key, make_key
from tests.support.fake_model_server import FakeModelServer

PREDICT = "/api/v1/predict"
MODELS = "/api/v1/models"
FIELD = re.compile(r'"(?P<name>[^"]+)";(?P<one>[qr])=(?P<number>\d+);(?P<two>[wt])=(?P<seconds>\d+)')


@pytest.fixture
def make_client(make_app: Callable[..., Flask]) -> Callable[..., FlaskClient]:
    def make(rate_limit: str = "3/hour", **changed: object) -> FlaskClient:
        return make_app(rate_limit=rate_limit, **changed).test_client()

    return make


def entries(response: TestResponse, field: str) -> list[tuple[str, int, int]]:
    """Return the name, the number and the seconds of each limit in a header of the draft."""
    matches = [FIELD.fullmatch(entry) for entry in response.headers[field].split(", ")]
    assert all(matches), response.headers[field]
    return [(match["name"], int(match["number"]), int(match["seconds"])) for match in matches if match]


def from_address(address: str) -> dict[str, dict[str, str]]:
    return {"environ_base": {"REMOTE_ADDR": address}}


def statuses(client: FlaskClient, times: int, **request: object) -> list[int]:
    return [client.get(MODELS, **request).status_code for _ in range(times)]


def test_without_the_setting_there_is_no_limit(make_app: Callable[..., Flask]):
    response = make_app().test_client().get(MODELS)
    assert not {"RateLimit", "RateLimit-Policy"} & set(response.headers.keys())


def test_requests_beyond_the_limit_are_refused(make_client: Callable[..., FlaskClient]):
    client = make_client()
    assert statuses(client, 5) == [200, 200, 200, 429, 429]


def test_a_refusal_says_when_to_retry(make_client: Callable[..., FlaskClient]):
    client = make_client("1/hour")
    client.get(MODELS)
    refused = client.get(MODELS)
    problem = refused.get_json(force=True)
    assert (refused.status_code, problem["type"]) == (429, "/problems/rate-limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    assert problem["retry_after_s"] == int(refused.headers["Retry-After"])
    assert "1 per 1 hour" in problem["detail"]
    assert entries(refused, "RateLimit")[0][1] == 0


def test_each_answer_reports_the_requests_left(make_client: Callable[..., FlaskClient], png: bytes):
    client = make_client("3/minute")
    answers = [client.post(PREDICT, data=png, content_type="image/png") for _ in range(3)]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"3 per 1 minute";q=3;w=60'}
    assert [entries(answer, "RateLimit")[0][1] for answer in answers] == [2, 1, 0]
    assert all(1 <= entries(answer, "RateLimit")[0][2] <= 60 for answer in answers)


def test_problems_are_counted_and_report_the_limit_too(make_client: Callable[..., FlaskClient]):
    client = make_client("2/hour")
    refused = client.post(PREDICT, data=b"no picture", content_type="image/png")
    assert (refused.status_code, entries(refused, "RateLimit")[0][1]) == (415, 1)
    assert client.get(f"{MODELS}/nothing").status_code == 404
    assert client.get(MODELS).status_code == 429


def test_several_limits_count_side_by_side(make_client: Callable[..., FlaskClient]):
    client = make_client("5/day;2/hour")
    response = client.get(MODELS)
    assert sorted(entries(response, "RateLimit-Policy")) == [("2 per 1 hour", 2, 3600), ("5 per 1 day", 5, 86400)]
    assert {name: left for name, left, _ in entries(response, "RateLimit")} == {"2 per 1 hour": 1, "5 per 1 day": 4}
    assert statuses(client, 2) == [200, 429]


def test_all_routes_of_the_api_share_one_limit(make_client: Callable[..., FlaskClient], png: bytes):
    client = make_client("3/hour")
    responses = [
        client.get(MODELS),
        client.get(f"{MODELS}/pets"),
        client.post(PREDICT, data=png, content_type="image/png"),
        client.post(f"{MODELS}/pets/versions/1/predict", data=png, content_type="image/png"),
    ]
    assert [response.status_code for response in responses] == [200, 200, 200, 429]


def test_requests_are_answered_again_in_the_next_window(make_client: Callable[..., FlaskClient]):
    client = make_client("1/second")
    give_up_s = time.monotonic() + 30
    while client.get(MODELS).status_code != 429:
        assert time.monotonic() < give_up_s
    while client.get(MODELS).status_code != 200:
        assert time.monotonic() < give_up_s


@pytest.mark.parametrize(
    "path",
    ["/livez", "/readyz", "/metrics", "/", "/static/app.js", "/api/v1/openapi.json", "/playground/samples/pets/1"],
)
def test_health_checks_metrics_and_pages_are_not_limited(make_client: Callable[..., FlaskClient], path: str):
    client = make_client("1/hour")
    assert statuses(client, 2) == [200, 429]
    for _ in range(3):
        with client.get(path) as response:
            assert response.status_code == 200
            assert "RateLimit" not in response.headers


def test_preflight_requests_have_a_count_of_their_own(make_client: Callable[..., FlaskClient]):
    client = make_client("2/hour")
    assert [client.options(PREDICT).status_code for _ in range(4)] == [200, 200, 429, 429]
    assert statuses(client, 3) == [200, 200, 429]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/api/v1/nothing", 404), ("DELETE", MODELS, 405), ("POST", "/livez", 405)],
)
def test_requests_that_no_route_takes_are_counted(
    make_client: Callable[..., FlaskClient], method: str, path: str, status: int
):
    client = make_client("2/hour")
    assert [client.open(path, method=method).status_code for _ in range(3)] == [status, status, 429]
    assert client.get(MODELS).status_code == 429


def test_requests_with_an_invalid_timeout_are_counted(make_client: Callable[..., FlaskClient]):
    client = make_client("2/hour")
    assert statuses(client, 3, headers={"X-Request-Timeout": "soon"}) == [400, 400, 429]


# Images


def batch(images: int) -> dict[str, list[dict[str, str]]]:
    return {"instances": [{"image": "AAAA"}] * images}


def test_a_batch_counts_each_of_its_images(make_client: Callable[..., FlaskClient]):
    client = make_client("10/hour")

    responses = [client.post(PREDICT, json=batch(4)) for _ in range(2)]

    assert [response.status_code for response in responses] == [200, 200]
    assert [entries(response, "RateLimit")[0][1] for response in responses] == [6, 2]
    assert statuses(client, 3) == [200, 200, 429]


def test_a_batch_of_urls_and_one_of_files_count_their_images_too(make_client: Callable[..., FlaskClient], png: bytes):
    client = make_client("7/hour")

    urls = client.post(PREDICT, json={"instances": [{"url": f"https://x/{number}"} for number in range(3)]})
    files = client.post(PREDICT, data={"image": [(io.BytesIO(png), f"{number}.png") for number in range(4)]})

    assert (urls.status_code, files.status_code) == (200, 200)
    assert [entries(response, "RateLimit")[0][1] for response in (urls, files)] == [4, 0]


def test_a_batch_beyond_what_is_left_is_refused_and_counts_as_one_request(
    make_client: Callable[..., FlaskClient], server: FakeModelServer
):
    client = make_client("5/hour")
    client.post(PREDICT, json=batch(3))
    calls = server.calls.copy()

    refused = client.post(PREDICT, json=batch(3))

    assert (refused.status_code, refused.get_json(force=True)["type"]) == (429, "/problems/rate-limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    assert entries(refused, "RateLimit")[0][1] == 1
    assert server.calls == calls
    assert client.get(MODELS).status_code == 200


def test_a_batch_that_no_window_has_room_for_is_too_large(make_client: Callable[..., FlaskClient]):
    client = make_client("100/day;5/hour")

    refused = client.post(PREDICT, json=batch(6))

    problem = refused.get_json(force=True)
    assert (refused.status_code, problem["type"], problem["max_images"]) == (413, "/problems/too-many-images", 5)
    assert "rate limit" in problem["detail"]
    assert {name: left for name, left, _ in entries(refused, "RateLimit")} == {"5 per 1 hour": 4, "100 per 1 day": 99}


def test_batches_at_the_same_time_do_not_exceed_the_limit(make_client: Callable[..., FlaskClient]):
    client = make_client("20/hour")

    with ThreadPoolExecutor(8) as pool:
        statuses = list(
            pool.map(lambda _: client.application.test_client().post(PREDICT, json=batch(4)).status_code, range(16))
        )

    assert 1 <= statuses.count(200) <= 5
    assert set(statuses) == {200, 429}


def test_a_refused_body_is_not_read(make_client: Callable[..., FlaskClient]):
    client = make_client("1/hour")
    client.get(MODELS)
    assert client.post(PREDICT, data=bytes(2_000_001), content_type="image/png").status_code == 429


# Whose limit


def test_each_address_has_its_own_limit(make_client: Callable[..., FlaskClient]):
    client = make_client("1/hour")
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"):
        assert statuses(client, 2, **from_address(address)) == [200, 429]


@pytest.mark.parametrize(
    ("first", "second"),
    [("2001:db8::1", "2001:db8::ffff:1"), ("192.0.2.1", "::ffff:192.0.2.1"), ("not an address", "not an address")],
)
def test_addresses_of_one_caller_share_a_limit(make_client: Callable[..., FlaskClient], first: str, second: str):
    client = make_client("1/hour")
    assert statuses(client, 1, **from_address(first)) == [200]
    assert statuses(client, 1, **from_address(second)) == [429]


def test_each_key_has_its_own_limit_from_any_address(make_client: Callable[..., FlaskClient]):
    keys = {name: make_key(name) for name in ("one", "two")}
    client = make_client("1/hour", api_keys=tuple(hash_key(name, key) for name, key in keys.items()))
    for key in keys.values():
        headers = {"X-API-Key": key}
        assert statuses(client, 1, headers=headers, **from_address("192.0.2.1")) == [200]
        assert statuses(client, 1, headers=headers, **from_address("192.0.2.2")) == [429]


def test_requests_that_are_refused_for_their_key_count_against_the_address(make_client: Callable[..., FlaskClient]):
    key = make_key("one")
    client = make_client("3/hour", api_keys=(hash_key("one", key),))

    refusals = [{}, {"X-API-Key": "igk_one.guess"}, {"Authorization": "Bearer igk_one.guess"}, {"X-API-Key": key + "x"}]

    assert [client.get(MODELS, headers=headers).status_code for headers in refusals] == [401, 401, 401, 429]
    for path in ("/nothing", "/metrics", PREDICT):
        assert client.get(path).status_code == 429
    assert statuses(client, 1, **from_address("192.0.2.2")) == [401]
    assert statuses(client, 4, headers={"X-API-Key": key}) == [200, 200, 200, 429], "the key has its own limit"


def test_requests_whose_key_cannot_be_checked_do_not_count_against_the_address(
    make_client: Callable[..., FlaskClient], tmp_path: Path
):
    file = tmp_path / "api-keys"
    key = add_key("one", file)
    client = make_client("2/hour", api_keys_file=file)
    text = file.read_text()
    file.write_text("damaged")
    headers = {"Authorization": f"Bearer {key}"}

    assert statuses(client, 4, headers=headers) == [503] * 4

    file.write_text(text)
    assert statuses(client, 3, headers=headers) == [200, 200, 429]
    assert statuses(client, 3) == [401, 401, 429]


def test_a_refused_key_is_counted_once_and_its_response_states_the_limit(make_client: Callable[..., FlaskClient]):
    client = make_client("3/hour", api_keys=(hash_key("one", make_key("one")),))

    responses = [client.get(MODELS) for _ in range(4)]

    assert [entries(response, "RateLimit")[0][1] for response in responses] == [2, 1, 0, 0]
    assert "WWW-Authenticate" in responses[0].headers
    assert int(responses[3].headers["Retry-After"]) >= 1


def test_open_paths_are_never_counted_with_keys_either(make_client: Callable[..., FlaskClient]):
    client = make_client("1/hour", api_keys=(hash_key("one", make_key("one")),))
    assert [client.get("/livez").status_code for _ in range(3)] == [200] * 3
    assert statuses(client, 2) == [401, 429]
    assert client.get("/livez").status_code == 200


# Where the address comes from


@pytest.mark.parametrize(
    ("proxies", "forwarded", "client"),
    [
        (0, "198.51.100.7", "192.0.2.1"),
        (1, "198.51.100.7", "198.51.100.7"),
        (1, "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (2, "203.0.113.9, 198.51.100.7", "203.0.113.9"),
        (2, "1.2.3.4, 203.0.113.9, 198.51.100.7", "203.0.113.9"),
        (2, "198.51.100.7", "192.0.2.1"),
        (1, None, "192.0.2.1"),
    ],
)
def test_the_trusted_number_of_proxies_determines_the_address(
    make_app: Callable[..., Flask], proxies: int, forwarded: str | None, client: str
):
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    app = make_app(trusted_proxies=proxies)
    app.add_url_rule("/who", view_func=lambda: request.remote_addr)
    assert app.test_client().get("/who", headers=headers, **from_address("192.0.2.1")).text == client


def test_no_other_header_of_a_proxy_is_trusted(make_app: Callable[..., Flask]):
    app = make_app(trusted_proxies=1)
    app.add_url_rule("/who", view_func=lambda: request.url)
    headers = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil", "X-Forwarded-Proto": "https"}
    assert app.test_client().get("/who", headers=headers).text == "http://localhost/who"


def test_a_made_up_address_does_not_get_around_the_limit(make_client: Callable[..., FlaskClient]):
    client = make_client("1/hour")
    assert [client.get(MODELS, headers={"X-Forwarded-For": f"198.51.100.{n}"}).status_code for n in range(3)] == [
        200,
        429,
        429,
    ]


# Settings


@pytest.mark.parametrize("text", ["many", "60", "60/fortnight", "0/minute", "-1/minute", "5/second;0/day"])
def test_a_malformed_limit_is_refused(text: str):
    with pytest.raises(SettingsError, match=r"GATEWAY_RATE_LIMIT=.*NUMBER/second"):
        Settings.from_env({"GATEWAY_RATE_LIMIT": text})


@pytest.mark.parametrize("fallback", ["memory", "allow"])
def test_images_are_counted_while_the_storage_is_unreachable(fallback: Any):
    storage = FlakyStorage()
    storage.is_away = True
    limiter = RateLimiter(parse_many("5/hour"), storage, fallback)

    outcomes = [limiter.count("caller"), limiter.count_more("caller", 3), limiter.count_more("caller", 2)]

    if fallback == "allow":
        assert outcomes == [[], [], []]
    else:
        assert [[(state.count, state.is_exceeded) for state in states] for states in outcomes] == [
            [(1, False)],
            [(4, False)],
            [(6, True)],
        ]


def test_a_refusal_is_logged(make_client: Callable[..., FlaskClient]):
    client = make_client("1/hour")
    with capture_logs() as logs:
        statuses(client, 2)
    refused = [line for line in logs if line["event"] == "request"][-1]
    assert (refused["status"], refused["problem"]) == (429, "rate-limited")


def test_counting_starts_no_thread(make_client: Callable[..., FlaskClient]):
    client = make_client("1000/hour")
    before = set(threading.enumerate())

    for number in range(50):
        client.get(MODELS, **from_address(f"192.0.2.{number}"))
        assert not set(threading.enumerate()) - before


# The clock


@pytest.mark.parametrize("change_s", [-86400, 86400])
def test_setting_the_clock_refuses_and_frees_nobody(monkeypatch: pytest.MonkeyPatch, change_s: float):
    monotonic_s = [1000.0]
    monkeypatch.setattr(window_counts.time, "monotonic", lambda: monotonic_s[0])
    storage = WindowCounts()
    limiter = RateLimiter(parse_many("2/minute"), storage, "memory")
    limiter.count("caller")
    now_s = time.time()

    monkeypatch.setattr(window_counts.time, "time", lambda: now_s + change_s)

    states = [limiter.count("caller")[0] for _ in range(2)]
    assert [(state.is_exceeded, state.seconds_left) for state in states] == [(False, 60), (True, 60)]
    monotonic_s[0] += 60
    assert not limiter.count("caller")[0].is_exceeded


# Outages of the storage; tests/integration has those of a real Redis


class FlakyStorage(WindowCounts):
    """A storage that can be made unreachable."""

    is_away = False

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        if self.is_away:
            raise StorageError(ConnectionError("refused"))
        return super().incr(key, expiry, amount)

    def get(self, key: str) -> int:
        if self.is_away:
            raise StorageError(ConnectionError("refused"))
        return super().get(key)

    def check(self) -> bool:
        return not self.is_away


def test_an_unreachable_storage_is_checked_at_growing_intervals(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]
    monkeypatch.setattr(rate_limits.time, "monotonic", lambda: now[0])
    checks: list[float] = []
    storage = FlakyStorage()
    monkeypatch.setattr(storage, "check", lambda: checks.append(now[0]) or not storage.is_away)
    limiter = RateLimiter(parse_many("100/hour"), storage, "allow")

    storage.is_away = True
    while now[0] < 100:
        assert limiter.count("caller") == []
        now[0] += 0.5
    assert checks == [1, 3, 7, 15, 31, 63, 95]

    storage.is_away = False
    now[0] = 127
    assert limiter.count("caller")[0].count == 1


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends():
    storage = FlakyStorage()
    limiter = RateLimiter(parse_many("100/hour"), storage, "memory")

    with capture_logs() as logs:
        storage.is_away = True
        assert [limiter.count("caller")[0].count for _ in range(3)] == [1, 2, 3]
        storage.is_away = False
        limiter._next_check_s = 0
        assert limiter.count("caller")[0].count == 1

    assert [line["event"] for line in logs] == ["rate_limit_storage_unreachable", "rate_limit_storage_recovered"]
    assert logs[0]["fallback"] == "memory"
