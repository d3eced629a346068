"""Announce finished jobs by signed webhooks (https://www.standardwebhooks.com), through the guards of image URLs."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from urllib.parse import urlsplit

import structlog

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, FetchRefusedError, GatewayError, OverloadedError
from gateway.jobs.documents import make_document
from gateway.jobs.options import decode_secret
from gateway.jobs.records import Job
from gateway.jobs.store import JobStore

MIN_WAIT_S, MAX_WAIT_S = 5.0, 3600.0
REASONS: Mapping[type[GatewayError], str] = {
    FetchRefusedError: "its host is unknown or not allowed",
    DeadlineExceededError: "it was not answered in time",
    OverloadedError: "too many connections are open",
}
"""Why a webhook was not sent, for the log. What the errors say is for those who send images."""
SIGNATURE_VERSION = "v1"

log = structlog.get_logger(__name__)


class Poster(Protocol):
    """Sends webhooks; see `UrlFetcher`."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, deadline: Deadline, client: str = "") -> int:
        """Send a body, and return the status of the response; raises a `GatewayError` if there is none."""


@dataclass(frozen=True, slots=True)
class WebhookLimits:
    """Limits on the delivery of a webhook.

    Attributes:
        deadline_s: Time for one attempt.
        retry_s: How long it is tried again after the job has finished.
    """

    deadline_s: float
    retry_s: float


class Webhooks:
    """Delivers webhooks, at least once each; their id is the same in every attempt.

    Args:
        store: Where the jobs are.
        poster: Sends them; None if this process sends nothing.
        root: Path below which the gateway is published.
        limits: Limits on the delivery.
    """

    def __init__(self, store: JobStore, poster: Poster | None, *, root: str, limits: WebhookLimits) -> None:
        self._store = store
        self._poster = poster
        self._root = root
        self._limits = limits

    def deliver(self, job_id: str) -> None:
        """Make one attempt, if the webhook of a job is not delivered yet, and record what became of it."""
        job = self._store.find(job_id)
        if job is None or job.webhook != "pending":
            return
        outcome = self._attempt(job)
        if outcome is None:
            log.info("webhook_delivered", job=job_id)
            self._store.settle_webhook(job_id, "delivered")
            return
        wait_s = min(MIN_WAIT_S * 2**job.webhook_attempts, MAX_WAIT_S)
        ends = (job.finished or 0.0) + self._limits.retry_s
        is_over = outcome == str(HTTPStatus.GONE.value) or time.time() + wait_s > ends
        host = urlsplit(job.request.webhook_url or "").hostname
        log.warning("webhook_failed", job=job_id, host=host, reason=outcome, wait_s=None if is_over else wait_s)
        self._store.settle_webhook(job_id, "failed" if is_over else "pending", wait_s)

    def _attempt(self, job: Job) -> str | None:
        """Send the webhook; return why it was not accepted, or None if it was."""
        if self._poster is None:
            return "fetching is disabled"
        body = json.dumps(make_document(job, self._root), ensure_ascii=False).encode()
        headers = sign(f"job_{job.id}", int(time.time()), body, job.request.webhook_secret or "")
        try:
            status = self._poster.post(
                job.request.webhook_url or "",
                body,
                {"Content-Type": "application/json", "Accept": "*/*", **headers},
                deadline=Deadline.after(self._limits.deadline_s),
                client="webhooks",
            )
        except GatewayError as error:
            return _explain(error)
        is_accepted = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        return None if is_accepted else str(status)


def _explain(error: GatewayError) -> str:
    cause = f" ({type(error.__cause__).__name__})" if error.__cause__ else ""
    return REASONS.get(type(error), f"the connection failed{cause}")


def sign(message_id: str, timestamp_s: int, body: bytes, secret: str) -> dict[str, str]:
    """Return the headers of a webhook.

    Args:
        message_id: The same in every attempt.
        timestamp_s: When this attempt is made, in seconds since 1970.
        body: What is sent.
        secret: `whsec_` and base64.
    """
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    digest = hmac.new(decode_secret(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": f"{SIGNATURE_VERSION},{base64.b64encode(digest).decode()}",
    }
