"""Rate limits counted in a real Redis: shared by several gateways, and each fallback while Redis is unreachable."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from gateway.app import create_app
from gateway.fetching.fetcher import DisabledFetcher
from gateway.models.configured import ConfiguredModels
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer
from tests.support.redis_server import RedisServer, make_redis
from tests.support.waiting import until

MODELS = "/api/v1/models"
RECOVERY_S = 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis."""
    server = make_redis(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def make_client(server: RedisServer) -> Callable[..., FlaskClient]:
    def make(**changed: Any) -> FlaskClient:
        chosen = {"rate_limit": "3/hour", "rate_limit_storage": "redis", "redis_url": server.url} | changed
        settings = Settings(**chosen)
        app = create_app(
            settings,
            server=FakeModelServer(),
            fetcher=DisabledFetcher(),
            configured_models=ConfiguredModels.from_names(["pets"]),
        )
        return app.test_client()

    return make


def statuses(client: FlaskClient, times: int) -> list[int]:
    return [client.get(MODELS).status_code for _ in range(times)]


def test_gateways_count_together(make_client: Callable[..., FlaskClient]):
    first, second = make_client(), make_client()
    assert statuses(first, 2) + statuses(second, 2) + statuses(first, 1) == [200, 200, 200, 429, 429]


def test_the_images_of_a_batch_are_counted_together(make_client: Callable[..., FlaskClient]):
    first, second = (make_client(rate_limit="10/hour") for _ in range(2))
    body = {"instances": [{"image": "AAAA"}] * 4}

    responses = [client.post("/api/v1/predict", json=body) for client in (first, second, first)]

    assert [response.status_code == 429 for response in responses] == [False, False, True]
    assert [response.headers["RateLimit"].partition(";t=")[0] for response in responses] == [
        f'"10 per 1 hour";r={left}' for left in (6, 2, 1)
    ]
    assert statuses(second, 2) == [200, 429]


def test_every_gateway_reports_the_requests_left(make_client: Callable[..., FlaskClient]):
    first, second = make_client(), make_client()
    first.get(MODELS)
    response = second.get(MODELS)
    assert response.headers["RateLimit-Policy"] == '"3 per 1 hour";q=3;w=3600'
    assert response.headers["RateLimit"].startswith('"3 per 1 hour";r=1;t=')


def test_counts_expire_with_their_window(make_client: Callable[..., FlaskClient], server: RedisServer):
    make_client(rate_limit="3/minute").get(MODELS)
    with redis.Redis.from_url(server.url) as stored:
        names = stored.keys()
        assert len(names) == 1
        assert 0 < stored.ttl(names[0]) <= 60


def test_no_key_is_stored(make_client: Callable[..., FlaskClient], server: RedisServer):
    make_client().get(MODELS, headers={"X-API-Key": "igk_camera.secret"})
    with redis.Redis.from_url(server.url) as stored:
        assert all(b"secret" not in name for name in stored.keys())  # noqa: SIM118  # no dictionary


def test_without_redis_a_gateway_starts(make_client: Callable[..., FlaskClient], server: RedisServer):
    server.stop()
    assert statuses(make_client(), 4) == [200, 200, 200, 429]


@pytest.mark.parametrize(
    ("fallback", "answered"),
    [("memory", [200, 200, 200, 429, 429]), ("allow", [200] * 5), ("deny", [503] * 5)],
)
@pytest.mark.parametrize("away", ["killed", "held"])
def test_the_fallback_decides_while_redis_is_unreachable(
    make_client: Callable[..., FlaskClient], server: RedisServer, fallback: str, answered: list[int], away: str
):
    client = make_client(rate_limit_fallback=fallback, redis_timeout_s=0.05)
    assert statuses(client, 2) == [200, 200]
    server.stop() if away == "killed" else server.suspend()
    assert statuses(client, 5) == answered
    assert client.get("/livez").status_code == 200


def test_a_request_that_cannot_be_counted_gets_a_problem(make_client: Callable[..., FlaskClient], server: RedisServer):
    client = make_client(rate_limit_fallback="deny")
    server.stop()
    response = client.get(MODELS)
    assert response.get_json(force=True)["type"] == "/problems/limits-unavailable"
    assert int(response.headers["Retry-After"]) >= 1
    assert "127.0.0.1" not in response.text


@pytest.mark.parametrize("fallback", ["memory", "allow", "deny"])
def test_redis_is_used_again_after_an_outage(
    make_client: Callable[..., FlaskClient], server: RedisServer, fallback: str
):
    client = make_client(rate_limit="100000/hour", rate_limit_fallback=fallback)
    server.stop()
    client.get(MODELS)
    server.start()

    def counted() -> bool:
        client.get(MODELS)
        with redis.Redis.from_url(server.url) as stored:
            return bool(stored.keys())

    until(counted, RECOVERY_S, "counted in Redis again")


def test_counting_during_an_outage_starts_no_thread(make_client: Callable[..., FlaskClient], server: RedisServer):
    client = make_client()
    server.stop()
    before = threading.enumerate()
    assert statuses(client, 4) == [200, 200, 200, 429]
    assert set(threading.enumerate()) <= set(before)
