"""API keys, rate limits and the client's address through the real nginx and gunicorn, without a model server."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from image_gateway_client.keys import add_key
from tests.support.stack import answers
from tests.support.waiting import until
from tools.local_stack import LocalStack

START_S = 60
REQUEST_S = 10


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., LocalStack]]:
    """Return a function that starts nginx and a gateway of one worker with settings."""
    with ExitStack() as stacks:

        def start_stack(**settings: str) -> LocalStack:
            stack = stacks.enter_context(LocalStack(tmp_path / "run", environment={"GATEWAY_WORKERS": "1", **settings}))
            stack.start_gateway()
            stack.start_nginx()
            until(lambda: answers(f"{stack.url}/livez"), START_S, "gateway alive behind nginx")
            return stack

        yield start_stack


def get(stack: LocalStack, path: str = "/api/v1/models", **headers: str) -> requests.Response:
    return requests.get(f"{stack.url}{path}", headers=headers, timeout=REQUEST_S)


def test_keys_are_accepted_and_revoked_while_the_gateway_runs(start: Callable[..., LocalStack], tmp_path: Path):
    file = tmp_path / "api-keys"
    first = add_key("first", file)
    stack = start(GATEWAY_API_KEYS_FILE=str(file))
    program = Path(sys.executable).with_name("image-gateway")

    command = subprocess.run(
        [program, "keys", "add", "second", "--file", file], capture_output=True, text=True, check=True
    )

    second = command.stdout.strip()
    assert get(stack).status_code == 401
    assert get(stack).headers["WWW-Authenticate"].startswith("Bearer ")
    assert get(stack, Authorization=f"Bearer {first}").status_code == 200
    assert get(stack, **{"X-API-Key": second}).status_code == 200

    file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("first:")))

    assert get(stack, Authorization=f"Bearer {first}").status_code == 401
    assert get(stack, **{"X-API-Key": second}).status_code == 200


def test_a_revoked_key_stays_revoked_in_every_worker_when_its_file_is_damaged(
    start: Callable[..., LocalStack], tmp_path: Path
):
    file = tmp_path / "api-keys"
    revoked = add_key("revoked", file)
    valid = add_key("valid", file)
    stack = start(GATEWAY_API_KEYS_FILE=str(file), GATEWAY_WORKERS="3")
    for _ in range(12):
        assert get(stack, **{"X-API-Key": revoked}).status_code == 200

    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if line.startswith("valid:")))
    assert get(stack, **{"X-API-Key": revoked}).status_code == 401  # by one worker; the others have no request
    file.write_text(f"{file.read_text()}half a li")

    assert {get(stack, **{"X-API-Key": revoked}).status_code for _ in range(24)} == {503}
    assert {get(stack, **{"X-API-Key": valid}).status_code for _ in range(24)} == {200}
    file.unlink()
    assert {get(stack, **{"X-API-Key": key}).status_code for key in (revoked, valid) for _ in range(24)} == {503}


def test_a_worker_is_replaced_although_the_keys_are_damaged(start: Callable[..., LocalStack], tmp_path: Path):
    file = tmp_path / "api-keys"
    key = add_key("one", file)
    stack = start(GATEWAY_API_KEYS_FILE=str(file))
    assert get(stack, **{"X-API-Key": key}).status_code == 200
    content = file.read_text()
    file.write_text("damaged")
    (worker,) = stack.workers()

    os.kill(worker, signal.SIGKILL)

    until(lambda: worker not in stack.workers() and answers(f"{stack.url}/livez"), START_S, "another worker")
    assert get(stack, **{"X-API-Key": key}).status_code == 503
    file.write_text(content)
    assert get(stack, **{"X-API-Key": key}).status_code == 200


def test_no_log_contains_a_key(start: Callable[..., LocalStack], tmp_path: Path):
    file = tmp_path / "api-keys"
    key = add_key("camera-1", file)
    stack = start(GATEWAY_API_KEYS_FILE=str(file), GATEWAY_LOG_LEVEL="debug")

    for text in (key, f"{key}x", key[:-1]):
        get(stack, Authorization=f"Bearer {text}")
        get(stack, **{"X-API-Key": text, "X-Request-ID": "traced"})

    def read_logs() -> str:
        return "".join(log.read_text(encoding="utf-8") for log in stack.options.logs.iterdir())

    # A server writes the line after it has responded.
    until(lambda: read_logs().count('"traced"') >= 6, what="two lines of each traced request")
    logs = read_logs()
    assert '"key": "camera-1"' in logs
    secret = key.partition(".")[2]
    assert secret[:12] not in logs
    assert file.read_text().rpartition(":")[2].strip() not in logs


def test_a_forged_address_changes_neither_the_rate_limit_nor_the_log(start: Callable[..., LocalStack]):
    stack = start(GATEWAY_RATE_LIMIT="3/hour")

    responses = [
        get(stack),
        get(stack, **{"X-Forwarded-For": "203.0.113.1"}),
        get(stack, **{"X-Forwarded-For": "203.0.113.2, 203.0.113.3", "X-Real-IP": "203.0.113.4"}),
        get(stack, **{"X-Forwarded-For": "203.0.113.5", "Forwarded": "for=203.0.113.6"}),
    ]

    assert [response.status_code for response in responses] == [200, 200, 200, 429]
    refused = responses[-1]
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.headers["RateLimit-Policy"] == '"3 per 1 hour";q=3;w=3600'
    assert refused.json()["type"] == "/problems/rate-limited"
    log = (stack.options.logs / "gateway.log").read_text(encoding="utf-8")
    assert '"client": "127.0.0.1"' in log
    assert "203.0.113" not in log


def test_addresses_from_a_trusted_proxy_have_separate_rate_limits(start: Callable[..., LocalStack]):
    stack = start(GATEWAY_RATE_LIMIT="1/hour", NGINX_TRUSTED_PROXY="127.0.0.0/8")

    statuses = [get(stack, **{"X-Forwarded-For": f"203.0.113.9, 198.51.100.{n}"}).status_code for n in (1, 2, 1)]

    assert statuses == [200, 200, 429]


def test_health_checks_are_not_rate_limited(start: Callable[..., LocalStack]):
    stack = start(GATEWAY_RATE_LIMIT="1/hour")

    assert [get(stack).status_code for _ in range(2)] == [200, 429]
    assert {get(stack, "/livez").status_code for _ in range(20)} == {200}
