"""The limits on jobs in SQLite; each check runs in the transaction of its caller."""

import sqlite3

from gateway.errors import JobsFullError, TooManyJobsError
from gateway.jobs.records import StoreLimits
from gateway.jobs.sqlite_statements import stored_bytes
from gateway.jobs.store import describe_full, describe_share, describe_too_many, describe_webhooks


def check_unfinished(sql: sqlite3.Connection, client: str, limits: StoreLimits) -> None:
    """Refuse one more job of a client that has too many unfinished ones.

    Raises:
        TooManyJobsError: It has as many as the limit.
    """
    (unfinished,) = sql.execute(
        "SELECT COUNT(*) FROM jobs WHERE client = ? AND status IN ('queued', 'running')", (client,)
    ).fetchone()
    if unfinished >= limits.max_unfinished:
        raise TooManyJobsError(describe_too_many(limits), max_unfinished=limits.max_unfinished)


def check_webhooks(sql: sqlite3.Connection, client: str, limits: StoreLimits) -> None:
    """Refuse one more webhook of a client whose receivers do not accept them.

    Raises:
        TooManyJobsError: As many as the limit are not delivered.
    """
    (webhooks,) = sql.execute(
        "SELECT COUNT(*) FROM jobs WHERE client = ? AND webhook_at IS NOT NULL", (client,)
    ).fetchone()
    if webhooks >= limits.max_webhooks:
        raise TooManyJobsError(describe_webhooks(limits))


def check_size(sql: sqlite3.Connection, client: str, limits: StoreLimits) -> None:
    """Refuse what makes all jobs together, or those of a client, larger than the limit.

    Raises:
        JobsFullError: They are.
    """
    if stored_bytes(sql) > limits.max_stored_bytes:
        raise JobsFullError(describe_full(limits))
    if stored_bytes(sql, client) > limits.max_client_bytes:
        raise JobsFullError(describe_share(limits))
