"""The SQLite database of the jobs: schema, transactions and errors."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from gateway.errors import JobsFullError, JobsUnavailableError

BUSY_S = 30.0
"""How long a transaction waits for those of other processes; each takes milliseconds."""
VACUUM_PAGES, VACUUM_STEP = 16_384, 1024
"""Pages of 4 KiB that are returned to the file system, and how many of them in one transaction."""
JOURNAL_BYTES = 16 * 1024 * 1024
"""What the write-ahead log keeps of the disk when it begins anew."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  client TEXT NOT NULL,
  request TEXT NOT NULL,
  status TEXT NOT NULL,
  total INTEGER NOT NULL DEFAULT 0,
  answered INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  model TEXT,
  version INTEGER,
  created REAL NOT NULL,
  started REAL,
  finished REAL,
  expires REAL,
  problem TEXT,
  turn INTEGER NOT NULL DEFAULT 0,
  wake_at REAL,
  webhook TEXT,
  webhook_at REAL,
  webhook_attempts INTEGER NOT NULL DEFAULT 0,
  receipt TEXT UNIQUE,
  fingerprint TEXT,
  bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_to_wake ON jobs (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_to_announce ON jobs (webhook_at) WHERE webhook_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_to_expire ON jobs (expires) WHERE expires IS NOT NULL;
CREATE INDEX IF NOT EXISTS jobs_by_size ON jobs (status, bytes);
CREATE INDEX IF NOT EXISTS jobs_by_client ON jobs (client, status, bytes);
CREATE TABLE IF NOT EXISTS images (
  job TEXT NOT NULL,
  chunk INTEGER NOT NULL,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  content BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS images_by_chunk ON images (job, chunk, position);
CREATE TABLE IF NOT EXISTS chunks (
  job TEXT NOT NULL,
  number INTEGER NOT NULL,
  available_at REAL NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  since REAL,
  claims INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS results (
  job TEXT NOT NULL,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  is_failed INTEGER NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (job, position)
);
CREATE TABLE IF NOT EXISTS callers (client TEXT PRIMARY KEY, served REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


class Database:
    """One connection to the database, opened when it is first used; safe to use from many threads.

    The journal is a write-ahead log: readers do not wait for writers, and what was committed survives the end of any
    process.

    Args:
        path: The file; its folder is made if needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do everything inside at once, or nothing of it.

        Raises:
            JobsFullError: There is no space on the disk.
            JobsUnavailableError: The database cannot be used.
        """
        with self._run("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Read everything inside as it was at one moment, without waiting for those who write.

        Raises:
            JobsUnavailableError: The database cannot be used.
        """
        with self._run("BEGIN") as connection:
            yield connection

    @contextlib.contextmanager
    def _run(self, begin: str) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock:
                connection = self._connect()
                connection.execute(begin)
                try:
                    yield connection
                except BaseException:
                    connection.rollback()
                    raise
                connection.commit()
        except sqlite3.Error as error:
            raise _translate(error) from error
        except OSError as error:
            raise JobsUnavailableError(f"The folder of the jobs cannot be used: {error.strerror}.") from error

    def vacuum(self) -> None:
        """Return some of the space of deleted rows to the file system."""
        with contextlib.suppress(sqlite3.Error):
            for _ in range(0, VACUUM_PAGES, VACUUM_STEP):
                with self._lock:
                    connection = self._connect()
                    if not connection.execute("PRAGMA freelist_count").fetchone()[0]:
                        return
                    # `execute` would end after the first page.
                    connection.executescript(f"PRAGMA incremental_vacuum({VACUUM_STEP})")

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
            connection.execute("PRAGMA secure_delete = OFF")  # which would write every deleted image once more
            connection.executescript(SCHEMA)
            self._connection = connection
        return self._connection


def _translate(error: sqlite3.Error) -> JobsFullError | JobsUnavailableError:
    if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return JobsFullError("There is no space left on the disk of the jobs. Send the job later.")
    return JobsUnavailableError(f"The database of the jobs cannot be used: {error}. Try again shortly.")
