"""The statements of `SqliteStore` that several of its methods share; each runs in the transaction of its caller."""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Any

from gateway.errors import IdempotencyKeyReusedError
from gateway.jobs.records import Item, ItemResult, Job, JobRequest, ModelVersion, Receipt, Turn
from gateway.jobs.sqlite_deletion import DELETED, mark_deleted
from gateway.jobs.store import JOB_BYTES, describe_reuse

RECEIVING = "receiving"
"""Status of a job that nobody sees yet."""


def to_job(row: sqlite3.Row) -> Job:
    """Return the job of a row."""
    values: dict[str, Any] = {name: row[name] for name in Job.__slots__}
    values["request"] = JobRequest.from_json(row["request"])
    values["problem"] = json.loads(row["problem"]) if row["problem"] else None
    return Job(**values)


def find(sql: sqlite3.Connection, job_id: str) -> Job | None:
    """Return a published job that has not expired."""
    row = sql.execute(
        "SELECT * FROM jobs WHERE id = ? AND status != ? AND (expires IS NULL OR expires > ?)",
        (job_id, RECEIVING, time.time()),
    ).fetchone()
    return to_job(row) if row else None


def find_earlier(sql: sqlite3.Connection, receipt: Receipt) -> str | None:
    """Return the id of the job that the same request has created; one that has expired is deleted.

    Raises:
        IdempotencyKeyReusedError: Another request was sent with the same key.
    """
    row = sql.execute("SELECT id, fingerprint, expires FROM jobs WHERE receipt = ?", (receipt.key,)).fetchone()
    if row is None:
        return None
    if row["expires"] is not None and row["expires"] <= time.time():
        mark_deleted(sql, [row["id"]])
        return None
    if row["fingerprint"] != receipt.fingerprint:
        raise IdempotencyKeyReusedError(describe_reuse())
    return str(row["id"])


def find_next_chunk(sql: sqlite3.Connection, job_id: str, now: float) -> int | None:
    """Return the chunk of a job that would be claimed now."""
    row = sql.execute(
        "SELECT number FROM chunks WHERE job = ? AND available_at <= ? ORDER BY number LIMIT 1", (job_id, now)
    ).fetchone()
    return None if row is None else int(row["number"])


def find_turns(sql: sqlite3.Connection, own_id: str) -> Iterator[Turn]:
    """Yield the jobs of which a chunk can be claimed: first those of the client that was served the longest ago.

    Of one client, the job given is the first.
    """
    now = time.time()
    for row in sql.execute(
        "SELECT id, turn FROM jobs LEFT JOIN callers USING (client) WHERE wake_at IS NOT NULL "
        "ORDER BY COALESCE(served, 0), id != ?, wake_at",
        (own_id,),
    ):
        chunk = find_next_chunk(sql, row["id"], now)
        if chunk is not None:
            yield Turn(row["id"], row["turn"], has_urls=_has_urls(sql, row["id"], chunk))


def set_served(sql: sqlite3.Connection, client: str) -> None:
    """Put a client behind all others."""
    sql.execute("INSERT OR REPLACE INTO callers (client, served) VALUES (?, ?)", (client, time.time()))


def forget_idle_client(sql: sqlite3.Connection, job_id: str) -> None:
    """Forget when the client of a job was served, if it has no unfinished jobs."""
    sql.execute(
        "DELETE FROM callers WHERE client = (SELECT client FROM jobs WHERE id = ?) AND NOT EXISTS "
        "(SELECT 1 FROM jobs WHERE jobs.client = callers.client AND status IN ('queued', 'running'))",
        (job_id,),
    )


def _has_urls(sql: sqlite3.Connection, job_id: str, chunk: int) -> bool:
    row = sql.execute("SELECT 1 FROM images WHERE job = ? AND chunk = ? AND kind = 'url'", (job_id, chunk)).fetchone()
    return row is not None


def read_items(sql: sqlite3.Connection, job_id: str, chunk: int) -> list[Item]:
    """Return the images of a chunk that have no result yet."""
    return [
        Item(row["position"], row["name"], row["kind"], row["content"])
        for row in sql.execute(
            "SELECT position, name, kind, content FROM images WHERE job = ? AND chunk = ? ORDER BY position",
            (job_id, chunk),
        )
    ]


def insert_result(sql: sqlite3.Connection, job_id: str, result: ItemResult) -> bool:
    """Write a result, unless there is one; return whether it was written."""
    cursor = sql.execute(
        "INSERT OR IGNORE INTO results (job, position, name, is_failed, document) VALUES (?, ?, ?, ?, ?)",
        (job_id, result.index, result.name, result.is_failed, result.document),
    )
    return cursor.rowcount > 0


def pin(sql: sqlite3.Connection, job: Job, version: ModelVersion) -> bool:
    """Let a version answer all of a job, unless another one does; return whether this one does."""
    if job.version is not None:
        return (job.model, job.version) == version
    sql.execute("UPDATE jobs SET model = ?, version = ? WHERE id = ?", (*version, job.id))
    return True


def add_counts(sql: sqlite3.Connection, job_id: str, written: Sequence[ItemResult]) -> None:
    """Count results that were written."""
    failed = sum(result.is_failed for result in written)
    sql.execute(
        "UPDATE jobs SET answered = answered + ?, failed = failed + ?, bytes = bytes + ? WHERE id = ?",
        (len(written) - failed, failed, sum(result.size for result in written), job_id),
    )
    count(sql, "answered", len(written) - failed)
    count(sql, "problems", failed)


def find_client(sql: sqlite3.Connection, job_id: str) -> str:
    """Return whose job it is."""
    (client,) = sql.execute("SELECT client FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return str(client)


def delete_image(sql: sqlite3.Connection, job_id: str, chunk: int, position: int) -> int:
    """Delete an image that has a result, and count its bytes as free; return how many."""
    row = sql.execute(
        "DELETE FROM images WHERE job = ? AND chunk = ? AND position = ? RETURNING LENGTH(content) AS size",
        (job_id, chunk, position),
    ).fetchone()
    if row is None:
        return 0
    sql.execute("UPDATE jobs SET bytes = MAX(0, bytes - ?) WHERE id = ?", (row["size"], job_id))
    return int(row["size"])


def drop_empty_chunk(sql: sqlite3.Connection, job_id: str, chunk: int) -> None:
    """Delete a chunk if all its images have results."""
    sql.execute(
        "DELETE FROM chunks WHERE job = ?1 AND number = ?2 "
        "AND NOT EXISTS (SELECT 1 FROM images WHERE job = ?1 AND chunk = ?2)",
        (job_id, chunk),
    )


def lease(sql: sqlite3.Connection, leases: Sequence[tuple[float, str, int]]) -> None:
    """Let chunks be claimed again only from a moment on: each is a time, a job and a number."""
    sql.executemany("UPDATE chunks SET available_at = ? WHERE job = ? AND number = ?", leases)


def set_claims(sql: sqlite3.Connection, job_id: str, chunk: int, claims: int) -> None:
    """Set how often a chunk was claimed since something became of it."""
    sql.execute("UPDATE chunks SET claims = ? WHERE job = ? AND number = ?", (claims, job_id, chunk))


def sleep(sql: sqlite3.Connection, job_id: str) -> None:
    """Wake the job when its next chunk can be claimed."""
    sql.execute(
        "UPDATE jobs SET wake_at = (SELECT MIN(available_at) FROM chunks WHERE job = ?1) WHERE id = ?1", (job_id,)
    )


def count(sql: sqlite3.Connection, name: str, amount: int) -> None:
    """Add to one of the totals."""
    sql.execute(
        "INSERT INTO totals (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        (name, amount),
    )


def stored_bytes(sql: sqlite3.Connection, client: str | None = None) -> int:
    """Return the size of all jobs, or of those of a client."""
    of_client, values = ("", ()) if client is None else (" AND client = ?", (client,))
    count, size = sql.execute(
        f"SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM jobs WHERE status != ?{of_client}",  # noqa: S608  # constants
        (DELETED, *values),
    ).fetchone()
    return int(JOB_BYTES * count + size)
