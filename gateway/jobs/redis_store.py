"""Jobs in Redis 7, for gateways and workers on any number of machines."""

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.errors import IdempotencyKeyReusedError, JobsFullError, JobsUnavailableError, TooManyJobsError
from gateway.jobs import redis_scripts as scripts
from gateway.jobs.records import (
    Chunk,
    FinalStatus,
    Item,
    ItemKind,
    ItemResult,
    Job,
    JobRequest,
    ModelVersion,
    NewJob,
    Receipt,
    StoreLimits,
    Turn,
    WebhookStatus,
)
from gateway.jobs.redis_timeouts import SOCKET_TIMEOUT_S
from gateway.jobs.store import (
    ITEM_BYTES,
    JOB_BYTES,
    PAGE_BYTES,
    TOO_SLOW,
    WEBHOOK_LEASE_S,
    describe_full,
    describe_reuse,
    describe_share,
    describe_too_many,
    describe_webhooks,
)

KINDS: dict[ItemKind, str] = {"image": "i", "url": "u", "problem": "f"}
KINDS_BY_CODE: dict[bytes, ItemKind] = {code.encode(): kind for kind, code in KINDS.items()}
FAILED, ANSWERED = b"f", b"a"
"""The first byte of a result."""
OUT_OF_MEMORY = "maxmemory"
"""Part of the message of Redis, for scripts too."""
READ_AT_ONCE = 500


class RedisStore:
    """A `JobStore` in Redis, bounded by its `maxmemory`, whose policy must not evict keys without a time to live.

    Times are those of Redis.

    Args:
        url: Such as `redis://host:6379/0`.
        limits: Limits on the jobs that are stored.
    """

    def __init__(self, url: str, limits: StoreLimits) -> None:
        self._redis: Any = redis.Redis.from_url(  # whose types allow both bytes and str
            url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._limits = limits
        self._scripts: dict[str, Any] = {}

    def check_room(self, client: str, receipt_key: str | None) -> None:
        """Refuse a job that could not be published; see `JobStore`."""
        limits = self._limits
        self._check(self._run(scripts.CHECK_ROOM, client, receipt_key or "", limits.max_unfinished, *self._sizes))

    def find_receipt(self, key: str) -> tuple[str, str] | None:
        """Return id and fingerprint of the job of a key; see `JobStore`."""
        found = self._run(scripts.FIND_RECEIPT, key)
        return (found[0].decode(), found[1].decode()) if found else None

    def stage(self, job: NewJob) -> None:
        """Begin to receive a job; see `JobStore`."""
        fields = {"owner": job.owner, "client": job.client, "request": job.request.to_json()}
        if job.request.webhook_url:
            fields["webhook"] = "pending"
        pairs = [text for pair in fields.items() for text in pair]
        self._run(scripts.STAGE, job.id, self._limits.storing_s, JOB_BYTES, *pairs)

    def add_items(self, job_id: str, chunk: int, items: Sequence[Item]) -> None:
        """Add images to a job that is being received; see `JobStore`."""
        values = [value for item in items for value in (item.index, item.name, KINDS[item.kind], item.content)]
        self._check(self._run(scripts.ADD_ITEMS, job_id, _member(chunk), ITEM_BYTES, *self._sizes, *values))

    def publish(self, job_id: str, receipt: Receipt) -> str:
        """Queue a job that was received; see `JobStore`."""
        limits = self._limits
        outcome, published_id = self._run(
            scripts.PUBLISH,
            *(job_id, receipt.key or "", receipt.fingerprint, *self._sizes),
            *(limits.max_unfinished, limits.lease_s, limits.retention_s, limits.max_webhooks),
        )
        self._check(outcome)
        return str(published_id, "ascii")

    def discard(self, job_id: str) -> None:
        """Delete a job that was not published; see `JobStore`."""
        self._run(scripts.DISCARD, job_id)

    def find(self, job_id: str) -> Job | None:
        """Return a published job; see `JobStore`."""
        with _translated_errors():
            fields = self._redis.hgetall(self._key("job", job_id))
        job = _job(job_id, {name.decode(): value.decode() for name, value in fields.items()})
        is_gone = job is not None and job.expires is not None and job.expires <= time.time()
        return None if is_gone else job

    def results(self, job_id: str, offset: int, limit: int, *, contiguous: bool) -> list[ItemResult]:
        """Return results in the order of their indices; see `JobStore`."""
        results: list[ItemResult] = []
        size = 0
        for result in self._read_results(job_id, offset):
            if result is None and contiguous:
                break
            if result is None:
                continue
            size += result.size
            if len(results) == limit or (results and size > PAGE_BYTES):
                break
            results.append(result)
        return results

    def finish(self, job_id: str, status: FinalStatus, problem: Mapping[str, object] | None = None) -> Job | None:
        """End a job that is not finished; see `JobStore`."""
        text = json.dumps(problem) if problem else ""
        self._run(scripts.FINISH, job_id, status, text, self._limits.retention_s)
        return self.find(job_id)

    def next_turn(self, job_id: str, turn: int, *, urls: bool) -> Turn | None:
        """Return of which job a chunk is to be claimed; see `JobStore`."""
        found = self._run(scripts.NEXT_TURN, job_id, turn, int(urls))
        return Turn(found[0].decode(), int(found[1]), has_urls=bool(found[2])) if found else None

    def claim(self, job_id: str, turn: int) -> Chunk | None:
        """Claim the next chunk of a job; see `JobStore`."""
        claimed = self._run(scripts.CLAIM, job_id, turn, self._limits.lease_s)
        job = self.find(job_id) if claimed else None
        if job is None:
            return None
        member, state, claims, has_more = claimed
        attempts, since = json.loads(state) if state else (0, None)
        items = self._read_items(job_id, member.decode())
        return Chunk(job, int(member), items, attempts, since, claims, turn + 1, is_last=not has_more)

    def renew(self, chunks: Sequence[Chunk]) -> None:
        """Begin the leases of claimed chunks anew; see `JobStore`."""
        pairs = [value for chunk in chunks for value in (chunk.job.id, _member(chunk.number))]
        self._run(scripts.RENEW, self._limits.lease_s, *pairs)

    def complete(self, chunk: Chunk, results: Sequence[ItemResult], version: ModelVersion | None) -> bool:
        """Write results that are not there yet; see `JobStore`."""
        values: list[object] = []
        for result in results:
            values += [result.index, (FAILED if result.is_failed else ANSWERED) + result.document.encode()]
        model, number = version or ("", "")
        outcome = self._run(
            scripts.COMPLETE,
            *(chunk.job.id, _member(chunk.number), model, number, self._limits.retention_s, *self._sizes),
            *values,
        )
        self._check(outcome)
        return bool(outcome)

    def release(self, chunk: Chunk, wait_s: float, *, attempts: int, since: float | None) -> None:
        """Give a chunk back; see `JobStore`."""
        self._run(scripts.RELEASE, chunk.job.id, _member(chunk.number), wait_s, json.dumps([attempts, since]))

    def due_jobs(self) -> list[tuple[str, int]]:
        """Return the jobs that workers are to be woken for; see `JobStore`."""
        values = self._run(scripts.DUE_JOBS, self._limits.lease_s)
        return [(job_id.decode(), int(turn)) for job_id, turn in zip(values[::2], values[1::2], strict=True)]

    def due_webhooks(self, limit: int, *, busy: Sequence[str] = ()) -> list[tuple[str, str]]:
        """Return the jobs whose webhook is to be delivered now; see `JobStore`."""
        values = self._run(scripts.DUE_WEBHOOKS, WEBHOOK_LEASE_S, limit, *busy)
        return [(job_id.decode(), client.decode()) for job_id, client in zip(values[::2], values[1::2], strict=True)]

    def settle_webhook(self, job_id: str, status: WebhookStatus, wait_s: float = 0.0) -> None:
        """Record the outcome of an attempt; see `JobStore`."""
        self._run(scripts.SETTLE_WEBHOOK, job_id, status, wait_s)

    def sweep(self) -> int:
        """Delete jobs that have expired; see `JobStore`."""
        return int(self._run(scripts.SWEEP))

    def totals(self) -> Mapping[str, int]:
        """Return counts for the metrics; see `JobStore`."""
        with _translated_errors():
            pipeline = self._redis.pipeline()
            pipeline.hgetall(scripts.PREFIX + "totals").scard(scripts.PREFIX + "unfinished")
            pipeline.llen(scripts.PREFIX + "open").get(scripts.PREFIX + "stored")
            totals, unfinished, chunks, size = pipeline.execute()
        counts = {name.decode(): int(value) for name, value in totals.items()}
        return {**counts, "unfinished": unfinished, "chunks": chunks, "bytes": int(size or 0)}

    def close(self) -> None:
        """Close all connections."""
        self._redis.close()

    def _run(self, script: str, *values: object) -> Any:
        if script not in self._scripts:
            self._scripts[script] = self._redis.register_script(scripts.PRELUDE + script)
        with _translated_errors():
            return self._scripts[script](args=values)

    @property
    def _sizes(self) -> tuple[int, int]:
        """The limits on the size of all jobs, and of those of one client."""
        return self._limits.max_stored_bytes, self._limits.max_client_bytes

    def _check(self, outcome: bytes | int) -> None:
        """Raise the error that the outcome of a script names."""
        limits = self._limits
        match outcome:
            case b"reused":
                raise IdempotencyKeyReusedError(describe_reuse())
            case b"many":
                raise TooManyJobsError(describe_too_many(limits), max_unfinished=limits.max_unfinished)
            case b"webhooks":
                raise TooManyJobsError(describe_webhooks(limits))
            case b"full":
                raise JobsFullError(describe_full(limits))
            case b"share":
                raise JobsFullError(describe_share(limits))
            case b"gone":
                raise JobsUnavailableError(TOO_SLOW)

    def _key(self, kind: str, job_id: str) -> str:
        return f"{scripts.PREFIX}{kind}:{job_id}"

    def _read_items(self, job_id: str, member: str) -> list[Item]:
        with _translated_errors():
            images = self._redis.hgetall(f"{self._key('images', job_id)}:{member}")
            indices = sorted(map(int, images))
            names = self._redis.hmget(self._key("names", job_id), indices) if indices else []
        return [
            Item(index, (name or b"").decode(), KINDS_BY_CODE[value[:1]], value[1:])
            for index, name in zip(indices, names, strict=True)
            for value in [images[b"%d" % index]]
        ]

    def _read_results(self, job_id: str, offset: int) -> Iterator[ItemResult | None]:
        """Yield the result of each index from an offset on; None where there is none."""
        with _translated_errors():
            total = int(self._redis.hget(self._key("job", job_id), "total") or 0)
        for start in range(offset, total, READ_AT_ONCE):
            indices = range(start, min(start + READ_AT_ONCE, total))
            with _translated_errors():
                results = self._redis.hmget(self._key("results", job_id), indices)
                names = self._redis.hmget(self._key("names", job_id), indices)
            for index, result, name in zip(indices, results, names, strict=True):
                if result is None:
                    yield None
                else:
                    text = result[1:].decode()
                    yield ItemResult(index, (name or b"").decode(), result[:1] == FAILED, text)


def _member(chunk: int) -> str:
    """Return the name of a chunk, whose order among others is that of the numbers."""
    return f"{chunk:08}"


def _job(job_id: str, fields: dict[str, str]) -> Job | None:
    if fields.get("status", "receiving") == "receiving":
        return None
    values: dict[str, Any] = {name: fields.get(name) for name in Job.__slots__}
    for name in ("total", "answered", "failed", "webhook_attempts"):
        values[name] = int(fields[name])
    for name in ("created", "started", "finished", "expires"):
        values[name] = float(fields[name]) if name in fields else None
    values["version"] = int(fields["version"]) if "version" in fields else None
    values["problem"] = json.loads(fields["problem"]) if "problem" in fields else None
    return Job(**values | {"id": job_id, "request": JobRequest.from_json(fields["request"])})


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except redis.ResponseError as error:
        if OUT_OF_MEMORY in str(error):
            raise JobsFullError("Redis has no memory left for the job. Send it later.") from error
        raise JobsUnavailableError("Redis refuses a command of the jobs. Try again shortly.") from error
    except redis.RedisError as error:
        raise JobsUnavailableError("Redis, which stores the jobs, does not answer. Try again shortly.") from error
