"""Accept jobs: store their images in chunks, and queue them once all of them are there."""

import contextlib
import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from gateway.errors import BadRequestError, GatewayError, IdempotencyKeyReusedError, JobNotFoundError
from gateway.http import problems
from gateway.jobs.records import Item, Job, JobRequest, NewJob, Receipt
from gateway.jobs.store import JobStore, describe_reuse
from gateway.jobs.submissions import NO_IMAGES, Source, Submission
from gateway.prediction.image_loader import ImageSource, ImageUrl

if TYPE_CHECKING:
    from gateway.prediction.image_loader import ImageBytes

ID_BYTES = 16
MAX_NAME_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """How jobs are divided into chunks.

    Attributes:
        max_images: Files in one chunk.
        max_urls: URLs in one chunk, which are fetched at the same time.
        max_bytes: Bytes in one chunk, unless a single file has more.
    """

    max_images: int
    max_urls: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Caller:
    """Who creates a job.

    Attributes:
        owner: Name of the API key; empty without keys.
        client: Whose unfinished jobs are counted: a key or an address.
        idempotency_key: What the caller sent to recognise a repeated request; None for nothing.
        count_images: Counts the images towards the rate limit, and raises an error if they exceed it.
    """

    owner: str
    client: str
    idempotency_key: str | None
    count_images: Callable[[int], None]


class JobIntake:
    """Accepts jobs.

    Args:
        store: Where they are stored.
        wake: Wakes a worker for the first turn of a job; see `WakeUps.wake`.
        sizes: How they are divided.
    """

    def __init__(self, store: JobStore, wake: Callable[[str, int], None], sizes: ChunkSizes) -> None:
        self._store = store
        self._wake = wake
        self._sizes = sizes

    def check_room(self, caller: Caller) -> None:
        """Refuse a job that could not be accepted, before it is received; see `JobStore.check_room`."""
        self._store.check_room(caller.client, _receipt_key(caller))

    def accept(self, submission: Submission, caller: Caller) -> Job:
        """Store a job and queue it, or return the one that the same request has created before.

        Raises:
            GatewayError: It cannot be accepted; then nothing of it is kept.
        """
        if not submission.total:
            raise BadRequestError(NO_IMAGES)
        receipt_key = _receipt_key(caller)
        earlier = self._store.find_receipt(receipt_key) if receipt_key else None
        if earlier is not None:
            return self._repeat(submission, *earlier)
        caller.count_images(submission.total)
        new = NewJob(secrets.token_hex(ID_BYTES), caller.owner, caller.client, submission.request)
        self._store.stage(new)
        try:
            fingerprint = self._add_items(new.id, submission)
            job_id = self._store.publish(new.id, Receipt(receipt_key, fingerprint))
        except BaseException:
            with contextlib.suppress(GatewayError):  # what is left expires
                self._store.discard(new.id)
            raise
        if job_id == new.id:
            self._wake(job_id, 0)
        return self._find(job_id)

    def _repeat(self, submission: Submission, job_id: str, fingerprint: str) -> Job:
        """Return the job that the same request has created before; nothing is stored or counted again.

        Raises:
            IdempotencyKeyReusedError: It is another request.
        """
        own = _Fingerprint(submission.request)
        for item in _items(submission.sources):
            own.add(item)
        if own.text != fingerprint:
            raise IdempotencyKeyReusedError(describe_reuse())
        return self._find(job_id)

    def _find(self, job_id: str) -> Job:
        job = self._store.find(job_id)
        if job is None:
            raise JobNotFoundError("The job has expired already.")
        return job

    def _add_items(self, job_id: str, submission: Submission) -> str:
        """Store the images; return the fingerprint of the request."""
        fingerprint = _Fingerprint(submission.request)
        for number, items in enumerate(self._chunks(submission.sources)):
            for item in items:
                fingerprint.add(item)
            self._store.add_items(job_id, number, items)
        return fingerprint.text

    def _chunks(self, sources: Iterator[Source]) -> Iterator[list[Item]]:
        chunk: list[Item] = []
        size = urls = 0
        for item in _items(sources):
            is_url = item.kind == "url"
            if chunk and (
                len(chunk) >= self._sizes.max_images
                or size + len(item.content) > self._sizes.max_bytes
                or (is_url and urls >= self._sizes.max_urls)
            ):
                yield chunk
                chunk, size, urls = [], 0, 0
            chunk.append(item)
            size += len(item.content)
            urls += is_url
        if chunk:
            yield chunk


class _Fingerprint:
    """A digest of what a caller asks for, and of all its images in order."""

    def __init__(self, request: JobRequest) -> None:
        described = json.dumps({**json.loads(request.to_json()), "request_id": None}, sort_keys=True)
        self._digest = hashlib.sha256(described.encode())

    def add(self, item: Item) -> None:
        """Add the next image."""
        self._digest.update(json.dumps([item.kind, item.name, len(item.content)]).encode())
        self._digest.update(item.content)

    @property
    def text(self) -> str:
        """The digest, in hexadecimal."""
        return self._digest.hexdigest()


def _items(sources: Iterator[Source]) -> Iterator[Item]:
    return (_make_item(index, *source) for index, source in enumerate(sources))


def _make_item(index: int, name: str, source: ImageSource | GatewayError) -> Item:
    name = name[:MAX_NAME_LENGTH].encode(errors="replace").decode()  # JSON can contain half a character
    if isinstance(source, GatewayError):
        return Item(index, name, "problem", json.dumps(problems.make_item_problem(source)).encode())
    if isinstance(source, ImageUrl):
        return Item(index, name, "url", source.url.encode(errors="replace"))
    return Item(index, name, "image", cast("ImageBytes", source).data)  # requests for jobs carry no pixels


def _receipt_key(caller: Caller) -> str | None:
    if caller.idempotency_key is None:
        return None
    return hashlib.sha256(json.dumps([caller.client, caller.idempotency_key]).encode()).hexdigest()
