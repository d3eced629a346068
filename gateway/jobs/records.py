"""What is stored of a job: its request, its images, how far it is, and its results."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

Status: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]
FinalStatus: TypeAlias = Literal["done", "failed", "cancelled"]
WebhookStatus: TypeAlias = Literal["pending", "delivered", "failed"]
ItemKind: TypeAlias = Literal["image", "url", "problem"]

UNFINISHED: frozenset[Status] = frozenset({"queued", "running"})


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a job.

    Attributes:
        index: Its position in the job, from 0.
        name: What the caller calls it: a file name or URL; empty for none.
        kind: Whether `content` is a file, a URL, or the problem document of an image that could not be accepted.
        content: The bytes, in UTF-8 if they are a text.
    """

    index: int
    name: str
    kind: ItemKind
    content: bytes


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The result of one image.

    Attributes:
        index: Position of the image in the job.
        name: Its name; empty for none.
        is_failed: Whether it is a problem and not a prediction.
        document: The prediction or the problem, as JSON.
    """

    index: int
    name: str
    is_failed: bool
    document: str

    @property
    def size(self) -> int:
        """Bytes that it takes, roughly."""
        return len(self.name) + len(self.document)


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a caller asked for, without the images.

    Attributes:
        model: Name of the model; None for the default one.
        version: Number of its version; None for the newest one, or the label's.
        label: Label of its version.
        top_k: Number of classes to return for each image.
        threshold: Lowest score of a class that is returned.
        webhook_url: Where the finished job is announced; None for nowhere.
        webhook_secret: Signs the announcement: `whsec_` and base64.
        request_id: Id of the request that created the job.
    """

    model: str | None
    version: int | None
    label: str | None
    top_k: int
    threshold: float | None
    webhook_url: str | None
    webhook_secret: str | None
    request_id: str

    def to_json(self) -> str:
        """Return it as a JSON object."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})

    @classmethod
    def from_json(cls, text: str) -> "JobRequest":
        """Return the request that `to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job that is being received.

    Attributes:
        id: Unguessable, since without API keys whoever knows it may read the job.
        owner: Name of the API key that it was created with; empty without keys.
        client: Whose unfinished jobs are counted: a key or an address.
        request: What was asked for.
    """

    id: str
    owner: str
    client: str
    request: JobRequest


@dataclass(frozen=True, slots=True)
class Job:
    """The state of a job. Times are seconds since 1970; None while unknown.

    Attributes:
        id: Its id.
        owner: Name of the API key that it was created with; empty without keys.
        request: What was asked for.
        status: How far it is.
        total: Number of images.
        answered: Number of images with a prediction.
        failed: Number of images with a problem.
        model: Name of the model, once a version was chosen.
        version: Number of that version.
        created: When it was accepted.
        started: When the first chunk was begun.
        finished: When it was done, failed or cancelled.
        expires: When it is deleted.
        problem: Why it failed, as a problem document.
        webhook: Whether the webhook was delivered; None if none was asked for.
        webhook_attempts: Number of attempts that failed.
    """

    id: str
    owner: str
    request: JobRequest
    status: Status
    total: int
    answered: int
    failed: int
    model: str | None
    version: int | None
    created: float
    started: float | None
    finished: float | None
    expires: float | None
    problem: dict[str, Any] | None
    webhook: WebhookStatus | None
    webhook_attempts: int

    @property
    def is_finished(self) -> bool:
        """Whether nothing more is computed for it."""
        return self.status not in UNFINISHED


class ModelVersion(NamedTuple):
    """A version of a model."""

    model: str
    version: int


@dataclass(frozen=True, slots=True)
class Turn:
    """The job of which a chunk is to be claimed next.

    Attributes:
        job_id: The job.
        number: Its turn; see `JobStore.claim`.
        has_urls: Whether the chunk has images that are fetched.
    """

    job_id: str
    number: int
    has_urls: bool


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Some images of a job, which a worker has claimed.

    Attributes:
        job: The job.
        number: Number of the chunk in its job.
        items: The images that have no result yet.
        attempts: How often single images of it could not be computed.
        since: When its first attempt failed, in seconds since 1970; None if none has.
        claims: How often it was claimed, this time included, since something became of it. More than once means that
            the workers before have ended.
        turn: Turn of the job after this claim; see `JobStore.claim`.
        is_last: Whether no further chunk of the job can be claimed now.
    """

    job: Job
    number: int
    items: Sequence[Item]
    attempts: int
    since: float | None
    claims: int
    turn: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class Receipt:
    """What makes a repeated request recognisable.

    Attributes:
        key: Digest of the caller and its idempotency key; None if it sent none.
        fingerprint: Digest of everything else that it sent.
    """

    key: str | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """Limits on the jobs that are stored.

    Attributes:
        max_stored_bytes: Size of all jobs together.
        max_unfinished: Number of unfinished jobs of one client.
        max_webhooks: Number of finished jobs of one client whose webhook is not delivered.
        retention_s: How long a finished job is kept.
        storing_s: How long a job that has arrived may take to be stored.
        lease_s: How long a claim lasts unless it is renewed.
    """

    max_stored_bytes: int
    max_unfinished: int
    max_webhooks: int
    retention_s: float
    storing_s: float
    lease_s: float

    @property
    def max_client_bytes(self) -> int:
        """Size of the jobs of one client: half of all, so that none takes the space of all others."""
        return self.max_stored_bytes // 2
