"""The interface of everything that stores jobs. It is the truth about them: queues only wake workers up."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.jobs.records import (
    Chunk,
    FinalStatus,
    Item,
    ItemResult,
    Job,
    ModelVersion,
    NewJob,
    Receipt,
    StoreLimits,
    Turn,
    WebhookStatus,
)
from gateway.sizes import format_limit

JOB_BYTES = 2048
"""Size that each job is counted with, in addition to its images and results."""
ITEM_BYTES = 128
"""The same, for each image."""
PAGE_BYTES = 8 * 1024 * 1024
"""Size of the results that are read at once, unless a single one is larger."""
TOO_SLOW = "The job took too long to be stored. Send it again."
WEBHOOK_LEASE_S = 60.0
"""How long an attempt to deliver a webhook may take until it is made again."""


class JobStore(Protocol):
    """Stores jobs; safe to use from many threads and processes.

    Every method is atomic: whatever is killed, a job is never between two states. A result is written once and never
    changed, and the counts of a job are those of its results.

    All methods raise `JobsUnavailableError` if the storage cannot be used, and those that write raise `JobsFullError`
    if it has no space.
    """

    def check_room(self, client: str, receipt_key: str | None) -> None:
        """Refuse a job that could not be published, before it is received.

        A job whose key is known is not refused: it may be the one that exists.

        Raises:
            TooManyJobsError: The client has too many unfinished jobs.
            JobsFullError: All jobs together, or those of the client, are larger than the limit.
        """

    def find_receipt(self, key: str) -> tuple[str, str] | None:
        """Return id and fingerprint of the job that a request with this key has created; see `Receipt`.

        Returns:
            None if there is none, or it has expired.
        """

    def stage(self, job: NewJob) -> None:
        """Begin to receive a job, which nobody sees until it is published."""

    def add_items(self, job_id: str, chunk: int, items: Sequence[Item]) -> None:
        """Add images to a job that is being received; items of the kind `problem` are results at once.

        Raises:
            JobsFullError: All jobs together, or those of the client, would be larger than the limit.
        """

    def publish(self, job_id: str, receipt: Receipt) -> str:
        """Queue a job that was received, unless the same request has created one before.

        Returns:
            The id of the job, or of the earlier one; then this one is discarded.

        Raises:
            IdempotencyKeyReusedError: Another request was sent with the same key.
            TooManyJobsError: The client has too many unfinished jobs, or webhooks that are not delivered.
            JobsFullError: All jobs together, or those of the client, would be larger than the limit.
        """

    def discard(self, job_id: str) -> None:
        """Delete a job that was not published."""

    def find(self, job_id: str) -> Job | None:
        """Return a published job; None if there is none, or it has expired."""

    def results(self, job_id: str, offset: int, limit: int, *, contiguous: bool) -> list[ItemResult]:
        """Return results in the order of their indices.

        Args:
            job_id: The job.
            offset: Smallest index.
            limit: Maximum number of results; fewer if they are large.
            contiguous: Whether to end before the first index that has no result.
        """

    def finish(self, job_id: str, status: FinalStatus, problem: Mapping[str, object] | None = None) -> Job | None:
        """End a job that is not finished, and delete its images; return it as it is then, None if there is none."""

    def next_turn(self, job_id: str, turn: int, *, urls: bool) -> Turn | None:
        """Return of which job a chunk is to be claimed when a worker was woken for a turn of a job.

        It is a job of the client that was served the longest ago: clients take turns, however many jobs each has.

        Args:
            job_id: The job.
            turn: Its turn.
            urls: Whether it may be a chunk with URLs. Without, it is one only if there is no other chunk.

        Returns:
            None if the turn is over.
        """

    def claim(self, job_id: str, turn: int) -> Chunk | None:
        """Claim the next chunk of a job until the lease ends.

        Args:
            job_id: The job.
            turn: Turn of the job for which the worker was woken. Each claim begins the next turn, so that of several
                wake-ups for one turn only the first counts.

        Returns:
            The chunk; None if the turn is over, or there is no chunk to claim.
        """

    def renew(self, chunks: Sequence[Chunk]) -> None:
        """Begin the leases of claimed chunks anew."""

    def complete(self, chunk: Chunk, results: Sequence[ItemResult], version: ModelVersion | None) -> bool:
        """Write results that are not there yet, delete their images, and finish the job with the last one.

        The first results choose the version that answers all of the job. Results of a job that is finished already are
        dropped.

        Args:
            chunk: The chunk.
            results: Results of its images.
            version: What computed them; None if they are problems only.

        Returns:
            Whether they are of the version that answers the job; otherwise nothing was written.

        Raises:
            JobsFullError: The results are larger than their images, and there is no space for them.
        """

    def release(self, chunk: Chunk, wait_s: float, *, attempts: int, since: float | None) -> None:
        """Give a chunk back, to be claimed again after some seconds; see `Chunk` for the arguments."""

    def due_jobs(self) -> list[tuple[str, int]]:
        """Return id and turn of the jobs that workers are to be woken for; each is returned to one caller.

        A job is due when a chunk can be claimed again, and a lease after its last wake-up, in case that was lost.
        """

    def due_webhooks(self, limit: int, *, busy: Sequence[str] = ()) -> list[tuple[str, str]]:
        """Return id and client of jobs whose webhook is to be delivered now, at most one of each client.

        Each is returned once in a lease.

        Args:
            limit: Maximum number.
            busy: Clients of which none is returned.
        """

    def settle_webhook(self, job_id: str, status: WebhookStatus, wait_s: float = 0.0) -> None:
        """Record the outcome of an attempt; if it is still pending, the next attempt is due after some seconds."""

    def sweep(self) -> int:
        """Delete jobs that have expired, and those that were not received in time; return how many."""

    def totals(self) -> Mapping[str, int]:
        """Return counts for the metrics.

        `created`, `done`, `failed`, `cancelled`: jobs since the beginning. `answered`, `problems`: images since the
        beginning. `unfinished`, `chunks`, `bytes`: jobs, chunks that are not computed, and size at this moment.
        """

    def close(self) -> None:
        """Close all connections."""


def describe_reuse() -> str:
    """Return what is wrong with a key that belongs to another request."""
    return (
        "The Idempotency-Key was sent before with other images or options. Send a new key for a new job, or the same "
        "request again."
    )


def describe_too_many(limits: StoreLimits) -> str:
    """Return what is wrong with one more job of a client."""
    return (
        f"You have {limits.max_unfinished} unfinished jobs, and no more are accepted at the same time. Wait until one "
        "has finished, or cancel one."
    )


def describe_webhooks(limits: StoreLimits) -> str:
    """Return what is wrong with one more webhook of a client."""
    return (
        f"{limits.max_webhooks} webhooks of your finished jobs could not be delivered yet, and no more are accepted. "
        "Check that your server answers them with a status of 2xx, or send the job without webhook_url and poll it."
    )


def describe_full(limits: StoreLimits) -> str:
    """Return what is wrong with a job for which there is no space."""
    return (
        f"All jobs together may take {format_limit(limits.max_stored_bytes)}, and this one would exceed it. Send it "
        "later, when others have expired."
    )


def describe_share(limits: StoreLimits) -> str:
    """Return what is wrong with a job of a client that has used its share of the space."""
    return (
        f"Your jobs together may take {format_limit(limits.max_client_bytes)}, and this one would exceed that. "
        "Send it when others have expired, or request fewer classes with top_k."
    )
