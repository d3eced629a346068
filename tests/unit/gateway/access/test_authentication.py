import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from werkzeug.routing import Rule

from gateway.access.authentication import OPEN_ENDPOINTS
from gateway.settings import Settings, SettingsError
from image_gateway_client.keys import add_key, hash_key, make_key

PREDICT = "/api/v1/predict"
MODELS = "/api/v1/models"
KEY = make_key("camera")
ENTRY = hash_key("camera", KEY)


@pytest.fixture
def guarded(make_app: Callable[..., Flask]) -> Flask:
    """Make an application that requires a key."""
    return make_app(api_keys=(ENTRY,), cors_origins=("https://app.example",))


@pytest.fixture
def client(guarded: Flask) -> FlaskClient:
    return guarded.test_client()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def path_of(rule: Rule) -> str:
    values = {
        "version": "1",
        "name": "style.css",
        "model": "pets",
        "label": "stable",
        "slug": "key-missing",
        "index": "0",
    }
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda match: values[match[1]], rule.rule)


def test_no_key_is_required_by_default(make_app: Callable[..., Flask]):
    client = make_app().test_client()
    assert client.get(MODELS).status_code == 200
    assert client.get(MODELS, headers=bearer("anything")).status_code == 200


def test_every_route_but_the_open_ones_requires_a_key(guarded: Flask, client: FlaskClient):
    rules = list(guarded.url_map.iter_rules())
    assert {rule.endpoint for rule in rules} >= OPEN_ENDPOINTS
    for rule in rules:
        for method in (rule.methods or set()) - {"OPTIONS"}:
            with client.open(path_of(rule), method=method) as response:
                status = 200 if rule.endpoint in OPEN_ENDPOINTS else 401
                assert response.status_code == status, (method, rule.rule)


def test_unknown_paths_require_a_key_too(client: FlaskClient):
    for path in ("/nothing", "/api/v1/nothing", "/metrics/x"):
        assert client.get(path).status_code == 401
        assert client.get(path, headers=bearer(KEY)).status_code == 404
    assert client.delete(MODELS).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY} "},
        {"X-API-Key": KEY},
        {"X-API-Key": f" {KEY} "},
        {"Authorization": "Basic YTpi", "X-API-Key": KEY},
    ],
)
def test_a_key_is_accepted_in_either_header(client: FlaskClient, png: bytes, headers: dict[str, str]):
    assert client.post(PREDICT, data=png, content_type="image/png", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": KEY}, {"Authorization": "Bearer"}, {"Authorization": "Basic YTpi"}, {"X-API-Key": " "}],
)
def test_a_request_without_a_key_gets_401_and_learns_how_to_send_one(client: FlaskClient, headers: dict[str, str]):
    response = client.get(MODELS, headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="image-gateway"'
    problem = response.get_json(force=True)
    assert problem["type"] == "/problems/key-missing"
    assert "Authorization: Bearer" in problem["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        bearer("x"),
        bearer(KEY + "x"),
        bearer(ENTRY),
        {"X-API-Key": KEY.swapcase()},
        {"Authorization": "Bearer wrong", "X-API-Key": KEY},  # the standard header takes precedence
        {"Authorization": "Bearer \u00e9"},
    ],
)
def test_a_wrong_key_gets_401_and_an_error(client: FlaskClient, headers: dict[str, str]):
    response = client.get(MODELS, headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="image-gateway", error="invalid_token"'
    assert response.get_json(force=True)["type"] == "/problems/key-unknown"


def test_a_key_in_the_query_is_ignored(client: FlaskClient):
    for query in ("key", "api_key", "access_token"):
        assert client.get(f"{MODELS}?{query}={KEY}").get_json(force=True)["type"] == "/problems/key-missing"


def test_the_key_is_checked_before_the_body_is_read(client: FlaskClient):
    response = client.post(PREDICT, data=bytes(2_000_001), content_type="image/png")
    assert response.status_code == 401


def test_a_key_that_is_removed_is_refused_immediately(make_app: Callable[..., Flask], tmp_path: Path):
    file = tmp_path / "api-keys"
    key = add_key("camera", file)
    client = make_app(api_keys_file=file).test_client()
    assert client.get(MODELS, headers=bearer(key)).status_code == 200
    file.write_text("")
    assert client.get(MODELS, headers=bearer(key)).status_code == 401


def test_unreadable_keys_are_refused_at_the_start(make_app: Callable[..., Flask], tmp_path: Path):
    with pytest.raises(SettingsError, match="none cannot be read"):
        make_app(api_keys_file=tmp_path / "none")
    with pytest.raises(SettingsError, match="GATEWAY_API_KEYS: entry 1 is not NAME:SALT:HASH"):
        make_app(api_keys=(KEY,))


def test_a_worker_starts_although_the_keys_were_damaged_after_the_gateway_started(
    make_app: Callable[..., Flask], tmp_path: Path
):
    file = tmp_path / "api-keys"
    key = add_key("camera", file)
    make_app(api_keys_file=file)
    file.unlink()

    client = make_app(api_keys_file=file).test_client()

    response = client.get(MODELS, headers=bearer(key))
    assert (response.status_code, response.get_json(force=True)["type"]) == (503, "/problems/keys-unavailable")
    assert int(response.headers["Retry-After"]) >= 1
    assert client.get("/livez").status_code == 200
    assert client.get(MODELS).status_code == 401
    added = add_key("camera", file)
    assert client.get(MODELS, headers=bearer(added)).status_code == 200


def test_an_empty_variable_is_refused_at_the_start():
    with pytest.raises(SettingsError, match=r"GATEWAY_API_KEYS.*at least one NAME:SALT:HASH"):
        Settings.from_env({"GATEWAY_API_KEYS": " "})
    assert not Settings.from_env({}).requires_keys


# The log


def test_the_log_has_the_name_of_a_key_and_never_the_key(client: FlaskClient):
    with capture_logs(processors=[merge_contextvars]) as logs:
        client.get(MODELS, headers=bearer(KEY))
        client.get(MODELS, headers=bearer(KEY + "x"))
        client.get(MODELS)
    valid, wrong, missing = (line for line in logs if line["event"] == "request")
    assert (valid["key"], valid["status"]) == ("camera", 200)
    assert (wrong["problem"], missing["problem"]) == ("key-unknown", "key-missing")
    assert "key" not in wrong.keys() | missing.keys()
    assert KEY.partition(".")[2] not in str(logs)


# Browsers


def test_a_preflight_needs_no_key(client: FlaskClient):
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    response = client.options(PREDICT, headers=headers | {"Access-Control-Request-Headers": "authorization"})
    assert response.status_code == 200
    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "x-api-key", "content-type"} <= set(allowed)


def test_a_page_may_read_why_it_was_refused(client: FlaskClient):
    response = client.post(PREDICT, headers={"Origin": "https://app.example"})
    assert response.status_code == 401
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "WWW-Authenticate" in response.headers["Access-Control-Expose-Headers"]


# The OpenAPI document


def test_the_document_says_which_operations_require_a_key(guarded: Flask, client: FlaskClient):
    document = client.get("/api/v1/openapi.json").get_json()
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert (schemes["key"]["in"], schemes["key"]["name"]) == ("header", "X-API-Key")
    operations = [
        (rule.endpoint, operation)
        for rule in guarded.url_map.iter_rules()
        for operation in document["paths"].get(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), {}).values()
    ]
    assert len(operations) > 5
    for endpoint, operation in operations:
        security = [] if endpoint in OPEN_ENDPOINTS else [{"bearer": []}, {"key": []}]
        assert operation.get("security", document["security"]) == security, endpoint
        assert ("401" in operation["responses"]) == bool(security), endpoint


def test_the_document_leaves_keys_to_the_caller_if_none_are_required(make_app: Callable[..., Flask]):
    document = make_app().test_client().get("/api/v1/openapi.json").get_json()
    assert document["security"] == [{}, {"bearer": []}, {"key": []}]
    assert set(document["components"]["securitySchemes"]) == {"bearer", "key"}
