"""Webhooks: signatures that receivers accept, and what happens when a receiver does not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from structlog.testing import capture_logs

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, FetchError, FetchRefusedError, GatewayError, OverloadedError
from gateway.jobs import webhooks
from gateway.jobs.records import Item
from gateway.jobs.sqlite_store import SqliteStore
from gateway.jobs.webhooks import WebhookLimits, Webhooks, sign
from tests.support.documents import blocks
from tests.support.jobs import SECRET, add_job, make_limits

URL = "https://hooks.example.com/job"


@dataclass
class Receiver:
    """Answers webhooks with statuses, or with an error."""

    answers: list[int | GatewayError]
    received: list[tuple[str, bytes, Mapping[str, str]]] = field(default_factory=list)

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, deadline: Deadline, client: str = "") -> int:
        assert not deadline.has_passed
        assert client
        self.received.append((url, body, headers))
        answer = self.answers.pop(0)
        if isinstance(answer, GatewayError):
            raise answer
        return answer


def caused(error: GatewayError, cause: Exception) -> GatewayError:
    error.__cause__ = cause
    return error


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteStore]:
    monkeypatch.setattr(webhooks, "MIN_WAIT_S", 0.0)
    store = SqliteStore(tmp_path, make_limits())
    add_job(store, "a", [[Item(0, "", "problem", b"{}")]], webhook_url=URL, webhook_secret=SECRET)
    yield store
    store.close()


def deliver(store: SqliteStore, receiver: Receiver | None, *, retry_s: float = 60.0) -> str | None:
    """Make the attempts that are due, and return the status of the webhook."""
    sender = Webhooks(store, receiver, root="/gw", limits=WebhookLimits(deadline_s=5.0, retry_s=retry_s))
    while due := store.due_webhooks(10):
        for job_id, _ in due:
            sender.deliver(job_id)
    job = store.find("a")
    assert job is not None
    return job.webhook


def test_a_receiver_with_the_library_accepts_the_signature(store: SqliteStore):
    receiver = Receiver([200])

    assert deliver(store, receiver) == "delivered"

    ((url, body, headers),) = receiver.received
    payload = Webhook(SECRET).verify(body, dict(headers))
    assert url == URL
    assert (payload["id"], payload["status"], payload["results"]) == ("a", "done", "/gw/api/v1/jobs/a/results")
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body + b" ", dict(headers))


def test_the_snippet_of_the_documentation_accepts_the_signature():
    (snippet,) = (block for block in blocks() if (block.page, block.kind) == ("docs/guides/jobs.md", "python"))
    names: dict = {}
    exec(snippet.text, names)  # noqa: S102  # the documentation is ours
    body = b'{"id": "x"}'

    headers = sign("job_x", 1_700_000_000, body, SECRET)

    assert names["is_genuine"](SECRET, headers, body)
    assert not names["is_genuine"](SECRET, headers, b"{}")


def test_the_signature_is_that_of_the_specification():
    headers = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', SECRET)

    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_attempts_go_on_with_the_same_id_until_one_is_accepted(store: SqliteStore):
    receiver = Receiver([500, 302, FetchRefusedError("not public"), 204])

    assert deliver(store, receiver) == "delivered"

    assert len({headers["webhook-id"] for _, _, headers in receiver.received}) == 1
    assert len(receiver.received) == 4


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (500, "500"),
        (FetchRefusedError("Send the image itself."), "its host is unknown or not allowed"),
        (DeadlineExceededError("The image was not fetched."), "it was not answered in time"),
        (OverloadedError("Too many images are being fetched."), "too many connections are open"),
        (FetchError("Fetching the image failed."), "the connection failed"),
        (caused(FetchError("Send the image itself."), ConnectionResetError()), "(ConnectionResetError)"),
    ],
)
def test_the_log_says_why_a_webhook_failed(store: SqliteStore, answer: int | GatewayError, reason: str):
    with capture_logs() as logs:
        deliver(store, Receiver([answer]), retry_s=-1.0)

    (entry,) = logs
    assert (entry["event"], entry["job"], entry["host"]) == ("webhook_failed", "a", "hooks.example.com")
    assert reason in entry["reason"]
    assert "image" not in entry["reason"]


def test_attempts_end_when_the_time_is_over(store: SqliteStore):
    assert deliver(store, Receiver([503]), retry_s=-1.0) == "failed"


def test_a_receiver_that_is_gone_ends_the_attempts(store: SqliteStore):
    assert deliver(store, Receiver([410])) == "failed"


def test_without_fetching_nothing_is_sent(store: SqliteStore):
    assert deliver(store, None, retry_s=-1.0) == "failed"


def test_the_waits_grow(store: SqliteStore, monkeypatch: pytest.MonkeyPatch):
    waits = []
    monkeypatch.setattr(webhooks, "MIN_WAIT_S", 5.0)
    monkeypatch.setattr(store, "settle_webhook", lambda _job, _status, wait_s=0.0: waits.append(wait_s))
    sender = Webhooks(store, Receiver([500]), root="", limits=WebhookLimits(5.0, 3600.0))

    sender.deliver("a")

    assert waits == [5.0]
