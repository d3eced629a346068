import re
import threading
import time
from collections.abc import Callable

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from gateway.settings import Settings, SettingsError
from image_gateway_client.keys import hashed, make_key

PREDICT = "/api/v1/predict"
MODELS = "/api/v1/models"
FIELD = re.compile(r'"(?P<name>[^"]+)";(?P<one>[qr])=(?P<number>\d+);(?P<two>[wt])=(?P<seconds>\d+)')


@pytest.fixture
def make_client(make_app: Callable[..., Flask]) -> Callable[..., FlaskClient]:
    def make(rate_limit: str = "3/hour", **changed: object) -> FlaskClient:
        return make_app(rate_limit=rate_limit, **changed).test_client()

    return make


def told(response: TestResponse, field: str) -> list[tuple[str, int, int]]:
    """Read a field as structured by the draft: name, number, seconds of each limit."""
    found = [FIELD.fullmatch(entry) for entry in response.headers[field].split(", ")]
    assert all(found), response.headers[field]
    return [(match["name"], int(match["number"]), int(match["seconds"])) for match in found if match]


def asked_from(address: str) -> dict[str, dict[str, str]]:
    return {"environ_base": {"REMOTE_ADDR": address}}


def statuses(client: FlaskClient, times: int, **asked: object) -> list[int]:
    return [client.get(MODELS, **asked).status_code for _ in range(times)]


def test_without_the_setting_there_is_no_limit(make_app: Callable[..., Flask]):
    response = make_app().test_client().get(MODELS)
    assert not {"RateLimit", "RateLimit-Policy"} & set(response.headers.keys())


def test_what_is_more_than_the_limit_is_refused(make_client: Callable[..., FlaskClient]):
    client = make_client()
    assert statuses(client, 5) == [200, 200, 200, 429, 429]


def test_a_refusal_says_when_to_ask_again(make_client: Callable[..., FlaskClient]):
    client = make_client("1/hour")
    client.get(MODELS)
    refused = client.get(MODELS)
    problem = refused.get_json(force=True)
    assert (refused.status_code, problem["type"]) == (429, "/problems/rate-limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 3600
    assert problem["retry_after_s"] == int(refused.headers["Retry-After"])
    assert "1 per 1 hour" in problem["detail"]
    assert told(refused, "RateLimit")[0][1] == 0


def test_each_answer_says_what_is_left(make_client: Callable[..., FlaskClient], png: bytes):
    client = make_client("3/minute")
    answers = [client.post(PREDICT, data=png, content_type="image/png") for _ in range(3)]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"3 per 1 minute";q=3;w=60'}
    assert [told(answer, "RateLimit")[0][1] for answer in answers] == [2, 1, 0]
    assert all(1 <= told(answer, "RateLimit")[0][2] <= 60 for answer in answers)


def test_problems_count_and_tell_too(make_client: Callable[..., FlaskClient]):
    client = make_client("2/hour")
    refused = client.post(PREDICT, data=b"no picture", content_type="image/png")
    assert (refused.status_code, told(refused, "RateLimit")[0][1]) == (415, 1)
    assert client.get(f"{MODELS}/nothing").status_code == 404
    assert client.get(MODELS).status_code == 429


def test_several_limits_count_side_by_side(make_client: Callable[..., FlaskClient]):
    client = make_client("5/day;2/hour")
    response = client.get(MODELS)
    assert sorted(told(response, "RateLimit-Policy")) == [("2 per 1 hour", 2, 3600), ("5 per 1 day", 5, 86400)]
    assert {name: left for name, left, _ in told(response, "RateLimit")} == {"2 per 1 hour": 1, "5 per 1 day": 4}
    assert statuses(client, 2) == [200, 429]


def test_all_routes_of_the_api_share_one_limit(make_client: Callable[..., FlaskClient], png: bytes):
    client = make_client("3/hour")
    asked = [
        client.get(MODELS),
        client.get(f"{MODELS}/pets"),
        client.post(PREDICT, data=png, content_type="image/png"),
        client.post(f"{MODELS}/pets/versions/1/predict", data=png, content_type="image/png"),
    ]
    assert [response.status_code for response in asked] == [200, 200, 200, 429]


def test_a_window_that_has_passed_gives_all_back(make_client: Callable[..., FlaskClient]):
    client = make_client("1/second")
    give_up_s = time.monotonic() + 30
    while client.get(MODELS).status_code != 429:
        assert time.monotonic() < give_up_s
    while client.get(MODELS).status_code != 200:
        assert time.monotonic() < give_up_s


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/", "/static/app.js", "/api/v1/openapi.json"])
def test_what_is_asked_by_machines_and_pages_is_not_limited(make_client: Callable[..., FlaskClient], path: str):
    client = make_client("1/hour")
    assert statuses(client, 2) == [200, 429]
    for _ in range(3):
        with client.get(path) as response:
            assert response.status_code == 200
            assert "RateLimit" not in response.headers


def test_a_browsers_question_is_not_counted(make_client: Callable[..., FlaskClient]):
    client = make_client("1/hour")
    assert [client.options(PREDICT).status_code for _ in range(3)] == [200] * 3
    assert client.get(MODELS).status_code == 200


def test_a_batch_is_one_request(make_client: Callable[..., FlaskClient]):
    client = make_client("2/hour")
    body = {"instances": [{"image": "AAAA"}] * 5}
    assert [client.post(PREDICT, json=body).status_code for _ in range(3)] == [200, 200, 429]


def test_a_refused_body_is_not_read(make_client: Callable[..., FlaskClient]):
    client = make_client("1/hour")
    client.get(MODELS)
    assert client.post(PREDICT, data=bytes(2_000_001), content_type="image/png").status_code == 429


# Whose limit


def test_each_address_has_its_own(make_client: Callable[..., FlaskClient]):
    client = make_client("1/hour")
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"):
        assert statuses(client, 2, **asked_from(address)) == [200, 429]


@pytest.mark.parametrize(
    ("first", "second"),
    [("2001:db8::1", "2001:db8::ffff:1"), ("192.0.2.1", "::ffff:192.0.2.1"), ("not an address", "not an address")],
)
def test_addresses_of_one_caller_are_one(make_client: Callable[..., FlaskClient], first: str, second: str):
    client = make_client("1/hour")
    assert statuses(client, 1, **asked_from(first)) == [200]
    assert statuses(client, 1, **asked_from(second)) == [429]


def test_each_key_has_its_own_wherever_it_is_used(make_client: Callable[..., FlaskClient]):
    keys = {name: make_key(name) for name in ("one", "two")}
    client = make_client("1/hour", api_keys=tuple(hashed(name, key) for name, key in keys.items()))
    for key in keys.values():
        headers = {"X-API-Key": key}
        assert statuses(client, 1, headers=headers, **asked_from("192.0.2.1")) == [200]
        assert statuses(client, 1, headers=headers, **asked_from("192.0.2.2")) == [429]


def test_whoever_is_not_let_in_uses_up_nobodys_limit(make_client: Callable[..., FlaskClient]):
    key = make_key("one")
    client = make_client("1/hour", api_keys=(hashed("one", key),))
    assert statuses(client, 3) == [401] * 3
    assert statuses(client, 2, headers={"X-API-Key": key}) == [200, 429]


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
def test_as_many_proxies_are_believed_as_are_set(
    make_app: Callable[..., Flask], proxies: int, forwarded: str | None, client: str
):
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    app = make_app(trusted_proxies=proxies)
    app.add_url_rule("/who", view_func=lambda: request.remote_addr)
    assert app.test_client().get("/who", headers=headers, **asked_from("192.0.2.1")).text == client


def test_no_other_header_of_a_proxy_is_believed(make_app: Callable[..., Flask]):
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
def test_a_limit_that_is_none_is_refused(text: str):
    with pytest.raises(SettingsError, match=r"GATEWAY_RATE_LIMIT=.*NUMBER/second"):
        Settings.from_env({"GATEWAY_RATE_LIMIT": text})


@pytest.mark.parametrize("url", ["redis", "http://:secret@host", "redis://:secret@host:port/0", "nothing"])
def test_a_redis_that_is_none_is_refused_without_its_password(make_app: Callable[..., Flask], url: str):
    with pytest.raises(SettingsError, match="GATEWAY_REDIS_URL cannot be used") as refused:
        make_app(rate_limit="1/hour", rate_limit_storage="redis", redis_url=url)
    assert "secret" not in str(refused.value)


def test_the_log_says_who_was_refused(make_client: Callable[..., FlaskClient]):
    client = make_client("1/hour")
    with capture_logs() as logs:
        statuses(client, 2)
    refused = [line for line in logs if line["event"] == "request"][-1]
    assert (refused["status"], refused["problem"]) == (429, "rate-limited")


def test_counting_starts_no_thread(make_client: Callable[..., FlaskClient]):
    client = make_client("1000/hour")
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):  # of the storage that flask-limiter makes and is then given ours for
            thread.join(10)
    before = threading.enumerate()
    for number in range(50):
        client.get(MODELS, **asked_from(f"192.0.2.{number}"))
        assert threading.enumerate() == before
