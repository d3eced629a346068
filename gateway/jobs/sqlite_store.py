"""Jobs in SQLite, for gateways and workers on one machine."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.errors import GatewayError, JobsUnavailableError
from gateway.jobs import sqlite_statements as statements
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
from gateway.jobs.sqlite_database import Database
from gateway.jobs.sqlite_deletion import DELETED, find_remains, mark_deleted, purge
from gateway.jobs.sqlite_limits import check_size, check_unfinished, check_webhooks
from gateway.jobs.store import (
    ITEM_BYTES,
    PAGE_BYTES,
    TOO_SLOW,
    WEBHOOK_LEASE_S,
)

FILE = "jobs.sqlite"
OPEN = "('queued', 'running')"


class SqliteStore:
    """A `JobStore` in a SQLite database.

    Args:
        folder: Where the database is.
        limits: Limits on the jobs that are stored.
    """

    def __init__(self, folder: Path, limits: StoreLimits) -> None:
        self._database = Database(folder / FILE)
        self._limits = limits

    def check_room(self, client: str, receipt_key: str | None) -> None:
        """Refuse a job that could not be published; see `JobStore`."""
        with self._database.snapshot() as sql:
            if not sql.execute("SELECT 1 FROM jobs WHERE receipt = ?", (receipt_key,)).fetchone():
                check_unfinished(sql, client, self._limits)
                check_size(sql, client, self._limits)

    def find_receipt(self, key: str) -> tuple[str, str] | None:
        """Return id and fingerprint of the job of a key; see `JobStore`."""
        with self._database.snapshot() as sql:
            row = sql.execute(
                "SELECT id, fingerprint FROM jobs WHERE receipt = ? AND (expires IS NULL OR expires > ?)",
                (key, time.time()),
            ).fetchone()
        return (row["id"], row["fingerprint"]) if row else None

    def stage(self, job: NewJob) -> None:
        """Begin to receive a job; see `JobStore`."""
        now = time.time()
        with self._database.transaction() as sql:
            sql.execute(
                "INSERT INTO jobs (id, owner, client, request, status, created, expires, webhook) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(job.id, job.owner, job.client, job.request.to_json(), statements.RECEIVING),
                    *(now, now + self._limits.storing_s, "pending" if job.request.webhook_url else None),
                ),
            )

    def add_items(self, job_id: str, chunk: int, items: Sequence[Item]) -> None:
        """Add images to a job that is being received; see `JobStore`."""
        images = [item for item in items if item.kind != "problem"]
        problems = [
            ItemResult(item.index, item.name, is_failed=True, document=item.content.decode())
            for item in items
            if item.kind == "problem"
        ]
        size = sum(len(item.content) + ITEM_BYTES for item in items)
        with self._database.transaction() as sql:
            row = sql.execute(
                "UPDATE jobs SET total = total + ?, bytes = bytes + ? WHERE id = ? AND status = ? RETURNING client",
                (len(items), size, job_id, statements.RECEIVING),
            ).fetchone()
            if row is None:
                raise JobsUnavailableError(TOO_SLOW)
            check_size(sql, row["client"], self._limits)
            sql.executemany(
                "INSERT INTO images (job, chunk, position, name, kind, content) VALUES (?, ?, ?, ?, ?, ?)",
                [(job_id, chunk, item.index, item.name, item.kind, item.content) for item in images],
            )
            if images:
                sql.execute("INSERT INTO chunks (job, number, available_at) VALUES (?, ?, 0)", (job_id, chunk))
            failed = sum(statements.insert_result(sql, job_id, result) for result in problems)
            sql.execute("UPDATE jobs SET failed = failed + ? WHERE id = ?", (failed, job_id))

    def publish(self, job_id: str, receipt: Receipt) -> str:
        """Queue a job that was received; see `JobStore`."""
        now = time.time()
        with self._database.transaction() as sql:
            earlier = statements.find_earlier(sql, receipt)
            row = sql.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if earlier is None and (row is None or row["status"] != statements.RECEIVING):
                raise JobsUnavailableError(TOO_SLOW)
            if earlier is None:
                self._queue(sql, row, receipt, now)
        if earlier is not None:
            self.discard(job_id)
        return earlier or job_id

    def discard(self, job_id: str) -> None:
        """Delete a job that was not published; see `JobStore`."""
        with self._database.transaction() as sql:
            if not sql.execute(
                "SELECT 1 FROM jobs WHERE id = ? AND status = ?", (job_id, statements.RECEIVING)
            ).fetchone():
                return
            mark_deleted(sql, [job_id])
        purge(self._database, job_id)
        self._database.vacuum()

    def find(self, job_id: str) -> Job | None:
        """Return a published job; see `JobStore`."""
        with self._database.snapshot() as sql:
            return statements.find(sql, job_id)

    def results(self, job_id: str, offset: int, limit: int, *, contiguous: bool) -> list[ItemResult]:
        """Return results in the order of their indices; see `JobStore`."""
        results: list[ItemResult] = []
        size = 0
        with self._database.snapshot() as sql:
            for row in sql.execute(
                "SELECT position, name, is_failed, document FROM results WHERE job = ? AND position >= ? "
                "ORDER BY position LIMIT ?",
                (job_id, offset, limit),
            ):
                result = ItemResult(row["position"], row["name"], bool(row["is_failed"]), row["document"])
                size += result.size
                if (contiguous and result.index != offset + len(results)) or (results and size > PAGE_BYTES):
                    break
                results.append(result)
        return results

    def finish(self, job_id: str, status: FinalStatus, problem: Mapping[str, object] | None = None) -> Job | None:
        """End a job that is not finished; see `JobStore`."""
        with self._database.transaction() as sql:
            job = statements.find(sql, job_id)
            if job is not None and not job.is_finished:
                self._finish(sql, job_id, status, problem)
                job = statements.find(sql, job_id)
        if job is not None:
            with contextlib.suppress(GatewayError):  # the job is finished; `sweep` removes what is left
                purge(self._database, job_id)
        return job

    def next_turn(self, job_id: str, turn: int, *, urls: bool) -> Turn | None:
        """Return of which job a chunk is to be claimed; see `JobStore`."""
        with self._database.snapshot() as sql:
            if not sql.execute(
                f"SELECT 1 FROM jobs WHERE id = ? AND turn = ? AND status IN {OPEN}",  # noqa: S608  # a constant
                (job_id, turn),
            ).fetchone():
                return None
            if statements.find_next_chunk(sql, job_id, time.time()) is None:
                return Turn(job_id, turn, has_urls=False)
            turns = statements.find_turns(sql, job_id)
            return next((found for found in turns if urls or not found.has_urls), Turn(job_id, turn, has_urls=True))

    def claim(self, job_id: str, turn: int) -> Chunk | None:
        """Claim the next chunk of a job; see `JobStore`."""
        now = time.time()
        with self._database.transaction() as sql:
            row = sql.execute(
                f"SELECT * FROM jobs WHERE id = ? AND turn = ? AND status IN {OPEN}",  # noqa: S608  # a constant
                (job_id, turn),
            ).fetchone()
            if row is None:
                return None
            chunks = sql.execute(
                "SELECT number, attempts, since, claims FROM chunks WHERE job = ? AND available_at <= ? "
                "ORDER BY number LIMIT 2",
                (job_id, now),
            ).fetchall()
            if not chunks:
                statements.sleep(sql, job_id)
                return None
            chunk = chunks[0]
            statements.set_served(sql, row["client"])
            statements.lease(sql, [(now + self._limits.lease_s, job_id, chunk["number"])])
            statements.set_claims(sql, job_id, chunk["number"], chunk["claims"] + 1)
            sql.execute(
                "UPDATE jobs SET status = 'running', started = COALESCE(started, ?), turn = turn + 1, wake_at = ? "
                "WHERE id = ?",
                (now, now + self._limits.lease_s, job_id),
            )
            if len(chunks) == 1:
                statements.sleep(sql, job_id)
            items = statements.read_items(sql, job_id, chunk["number"])
        return Chunk(
            statements.to_job(row),
            chunk["number"],
            items,
            chunk["attempts"],
            chunk["since"],
            chunk["claims"] + 1,
            turn + 1,
            is_last=len(chunks) == 1,
        )

    def renew(self, chunks: Sequence[Chunk]) -> None:
        """Begin the leases of claimed chunks anew; see `JobStore`."""
        until = time.time() + self._limits.lease_s
        with self._database.transaction() as sql:
            statements.lease(sql, [(until, chunk.job.id, chunk.number) for chunk in chunks])

    def complete(self, chunk: Chunk, results: Sequence[ItemResult], version: ModelVersion | None) -> bool:
        """Write results that are not there yet; see `JobStore`."""
        job_id = chunk.job.id
        with self._database.transaction() as sql:
            job = statements.find(sql, job_id)
            if job is None or job.is_finished:
                return True
            if version is not None and not statements.pin(sql, job, version):
                return False
            written = [result for result in results if statements.insert_result(sql, job_id, result)]
            statements.add_counts(sql, job_id, written)
            freed = sum(statements.delete_image(sql, job_id, chunk.number, result.index) for result in results)
            if sum(result.size for result in written) > freed:
                check_size(sql, statements.find_client(sql, job_id), self._limits)
            statements.set_claims(sql, job_id, chunk.number, 0)
            statements.drop_empty_chunk(sql, job_id, chunk.number)
            if job.answered + job.failed + len(written) == job.total:
                self._finish(sql, job_id, "done", None)
        return True

    def release(self, chunk: Chunk, wait_s: float, *, attempts: int, since: float | None) -> None:
        """Give a chunk back; see `JobStore`."""
        at = time.time() + wait_s
        with self._database.transaction() as sql:
            sql.execute(
                "UPDATE chunks SET available_at = ?, attempts = ?, since = ?, claims = 0 WHERE job = ? AND number = ?",
                (at, attempts, since, chunk.job.id, chunk.number),
            )
            sql.execute(
                f"UPDATE jobs SET wake_at = MIN(COALESCE(wake_at, ?), ?) WHERE id = ? AND status IN {OPEN}",  # noqa: S608
                (at, at, chunk.job.id),
            )

    def due_jobs(self) -> list[tuple[str, int]]:
        """Return the jobs that workers are to be woken for; see `JobStore`."""
        now = time.time()
        with self._database.transaction() as sql:
            rows = sql.execute(
                "UPDATE jobs SET wake_at = ? WHERE wake_at <= ? RETURNING id, turn", (now + self._limits.lease_s, now)
            ).fetchall()
        return [(row["id"], row["turn"]) for row in rows]

    def due_webhooks(self, limit: int, *, busy: Sequence[str] = ()) -> list[tuple[str, str]]:
        """Return the jobs whose webhook is to be delivered now; see `JobStore`."""
        now = time.time()
        with self._database.transaction() as sql:
            rows = sql.execute(
                "UPDATE jobs SET webhook_at = ? WHERE id IN (SELECT id FROM ("
                "SELECT id, MIN(webhook_at) AS at FROM jobs WHERE webhook_at <= ? "
                "AND client NOT IN (SELECT value FROM json_each(?)) GROUP BY client) "
                "ORDER BY at LIMIT ?) RETURNING id, client",
                (now + WEBHOOK_LEASE_S, now, json.dumps(list(busy)), limit),
            ).fetchall()
        return [(row["id"], row["client"]) for row in rows]

    def settle_webhook(self, job_id: str, status: WebhookStatus, wait_s: float = 0.0) -> None:
        """Record the outcome of an attempt; see `JobStore`."""
        is_pending = status == "pending"
        with self._database.transaction() as sql:
            sql.execute(
                "UPDATE jobs SET webhook = ?, webhook_at = ?, webhook_attempts = webhook_attempts + ? WHERE id = ?",
                (status, time.time() + wait_s if is_pending else None, int(is_pending), job_id),
            )

    def sweep(self) -> int:
        """Delete jobs that have expired; see `JobStore`."""
        with self._database.transaction() as sql:
            expired = [
                row["id"]
                for row in sql.execute("SELECT id FROM jobs WHERE expires <= ? AND status != ?", (time.time(), DELETED))
            ]
            mark_deleted(sql, expired)
            remains = find_remains(sql)
        for job_id in remains:
            purge(self._database, job_id)
        self._database.vacuum()
        return len(expired)

    def totals(self) -> Mapping[str, int]:
        """Return counts for the metrics; see `JobStore`."""
        with self._database.snapshot() as sql:
            totals = {row["name"]: row["value"] for row in sql.execute("SELECT name, value FROM totals")}
            (unfinished,) = sql.execute(f"SELECT COUNT(*) FROM jobs WHERE status IN {OPEN}").fetchone()  # noqa: S608
            (chunks,) = sql.execute("SELECT COUNT(*) FROM chunks").fetchone()
            size = statements.stored_bytes(sql)
        return {**totals, "unfinished": unfinished, "chunks": chunks, "bytes": size}

    def close(self) -> None:
        """Close the connection."""
        self._database.close()

    def _queue(self, sql: sqlite3.Connection, row: sqlite3.Row, receipt: Receipt, now: float) -> None:
        """Check the limits, and let workers find a job that was received."""
        check_unfinished(sql, row["client"], self._limits)
        if row["webhook"] is not None:
            check_webhooks(sql, row["client"], self._limits)
        check_size(sql, row["client"], self._limits)
        sql.execute(
            "UPDATE jobs SET status = 'queued', created = ?, wake_at = ?, expires = NULL, receipt = ?, "
            "fingerprint = ? WHERE id = ?",
            (now, now + self._limits.lease_s, receipt.key, receipt.fingerprint, row["id"]),
        )
        sql.execute("INSERT OR IGNORE INTO callers (client, served) VALUES (?, ?)", (row["client"], now))
        statements.count(sql, "created", 1)
        statements.count(sql, "problems", row["failed"])
        if row["failed"] == row["total"]:
            self._finish(sql, row["id"], "done", None)

    def _finish(
        self, sql: sqlite3.Connection, job_id: str, status: FinalStatus, problem: Mapping[str, object] | None
    ) -> None:
        now = time.time()
        (size,) = sql.execute(
            "SELECT COALESCE(SUM(LENGTH(content)), 0) FROM images WHERE job = ?", (job_id,)
        ).fetchone()
        sql.execute("DELETE FROM chunks WHERE job = ?", (job_id,))
        sql.execute(
            "UPDATE jobs SET status = ?, finished = ?, expires = ?, problem = ?, wake_at = NULL, bytes = bytes - ?, "
            "webhook_at = CASE WHEN webhook IS NULL THEN NULL ELSE ? END WHERE id = ?",
            (status, now, now + self._limits.retention_s, json.dumps(problem) if problem else None, size, now, job_id),
        )
        statements.forget_idle_client(sql, job_id)
        statements.count(sql, status, 1)
