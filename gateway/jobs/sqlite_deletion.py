"""Delete jobs from SQLite: they are marked at once, and removed in small transactions, for which nobody waits long."""

import sqlite3
from collections.abc import Sequence

from gateway.jobs.sqlite_database import Database

DELETED = "deleted"
"""Status of a job that nobody sees any more."""
RESULTS_AT_ONCE = 1000


def mark_deleted(sql: sqlite3.Connection, job_ids: Sequence[str]) -> None:
    """Hide jobs, and give back their keys and space; `purge` removes them."""
    sql.executemany(
        "UPDATE jobs SET status = ?, expires = 0, receipt = NULL, wake_at = NULL, webhook_at = NULL, bytes = 0 "
        "WHERE id = ?",
        [(DELETED, job_id) for job_id in job_ids],
    )


def find_remains(sql: sqlite3.Connection) -> list[str]:
    """Return the jobs of which something is to be purged: those marked, and finished ones that still have images."""
    rows = sql.execute(
        "SELECT id FROM jobs WHERE status = ? "
        "OR (finished IS NOT NULL AND EXISTS (SELECT 1 FROM images WHERE images.job = jobs.id))",
        (DELETED,),
    )
    return [row["id"] for row in rows]


def purge(database: Database, job_id: str) -> None:
    """Remove the images of a job that is finished, and all of one that is marked."""
    has_more = True
    while has_more:
        with database.transaction() as sql:
            has_more = _delete_some(sql, job_id)


def _delete_some(sql: sqlite3.Connection, job_id: str) -> bool:
    """Delete the images of one chunk, or else some results, or else the rest; return whether there may be more."""
    images = sql.execute(
        "DELETE FROM images WHERE job = ?1 AND chunk = (SELECT MIN(chunk) FROM images WHERE job = ?1)", (job_id,)
    )
    if images.rowcount:
        return True
    if not sql.execute("SELECT 1 FROM jobs WHERE id = ? AND status = ?", (job_id, DELETED)).fetchone():
        return False
    results = sql.execute(
        "DELETE FROM results WHERE job = ?1 AND position IN (SELECT position FROM results WHERE job = ?1 LIMIT ?2)",
        (job_id, RESULTS_AT_ONCE),
    )
    if results.rowcount:
        return True
    sql.execute("DELETE FROM chunks WHERE job = ?", (job_id,))
    sql.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
    return False
