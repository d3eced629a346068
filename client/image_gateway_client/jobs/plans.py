"""Plans of jobs: submit, look, wait, read results, cancel."""

import logging
import os
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from urllib.parse import quote

from image_gateway_client.endpoint import Endpoint, check_timeout
from image_gateway_client.errors import AWAY_STATUSES, NoAnswerError, ProblemError, UnexpectedAnswerError
from image_gateway_client.exchange import call, exchange
from image_gateway_client.images import Image
from image_gateway_client.jobs.job import Job, JobNotFinishedError, JobResult, parse_job, parse_results
from image_gateway_client.jobs.uploads import Upload, UploadPlace
from image_gateway_client.options import API, JobOptions, check_names, check_target, is_segment
from image_gateway_client.responses import not_as_expected, read_json, retry_after_s
from image_gateway_client.retries import backoff_s
from image_gateway_client.steps import ApiRequest, ApiResponse, Await, Pause, Plan, Work

SUBMIT_TIMEOUT_S = 3600.0
WAIT_TIMEOUT_S = 24 * 3600.0
POLL_S = 1.0
MIN_POLL_S = 0.1
MIN_LOOK_S = 5.0
"""Time for the last look at a job, whose answer may still be on its way when the time to wait is over."""
PAGE_SIZE = 500
MAX_KEY_LENGTH = 255
JSON_LINES = "application/x-ndjson"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of results.

    Attributes:
        results: The results, in order.
        next_offset: Position of the next page; None if there are no more results now.
    """

    results: list[JobResult]
    next_offset: int | None


def check_job(options: JobOptions, idempotency_key: str | None) -> None:
    """Check the arguments of a job before anything is read.

    Raises:
        TypeError: An option is unknown.
        ValueError: The options contradict each other, or the key cannot be sent.
    """
    check_names("submit_job()", options, JobOptions.__optional_keys__)
    check_target(options)
    if (options.get("webhook_url") is None) != (options.get("webhook_secret") is None):
        raise ValueError("A webhook needs both webhook_url and webhook_secret.")
    key = idempotency_key
    if key is not None and not (
        key.isascii() and key.isprintable() and " " not in key and 0 < len(key) <= MAX_KEY_LENGTH
    ):
        raise ValueError(f"The idempotency key is not valid. Use 1 to {MAX_KEY_LENGTH} visible ASCII characters.")


def submit(  # noqa: PLR0913  # the arguments of the method
    endpoint: Endpoint,
    images: str | os.PathLike[str] | Iterable[Image],
    options: JobOptions,
    *,
    idempotency_key: str | None,
    timeout_s: float,
    max_bytes: int,
) -> Plan[Job]:
    """Plan a new job. Its idempotency key, made if there is none, lets a retry find the job that it has created."""
    check_timeout("timeout_s", timeout_s)
    headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
    with closing(UploadPlace()) as place:
        upload: Upload = yield Work(partial(place.fill, images, max_bytes=max_bytes))
        request = ApiRequest(
            "POST",
            f"{API}/jobs",
            headers=headers,
            body=upload.make_body(options),
            timeout_s=timeout_s,
            limits_gateway=False,  # it allows more time for an upload than for a prediction
        )
        return (yield from call(endpoint, request, parse_job))


def get(endpoint: Endpoint, job: Job | str) -> Plan[Job]:
    """Plan the state of a job."""
    return call(endpoint, ApiRequest("GET", _path(job)), parse_job)


def cancel(endpoint: Endpoint, job: Job | str) -> Plan[Job]:
    """Plan the end of a job; one that has ended stays as it is."""
    return call(endpoint, ApiRequest("DELETE", _path(job)), parse_job)


def wait(endpoint: Endpoint, job: Job | str, progress: Callable[[Job], object] | None, timeout_s: float) -> Plan[Job]:
    """Plan to look at a job until it ends, as often as the gateway says; with a `timeout_s` of 0, to look once."""
    if timeout_s != 0:
        check_timeout("timeout_s", timeout_s)
    deadline_s = time.monotonic() + timeout_s
    state: Job | None = None
    while True:
        response = yield from _look(endpoint, job, deadline_s, has_answered=state is not None)
        state = parse_job(read_json(response, endpoint))
        if progress is not None and isawaitable(reported := progress(state)):
            yield Await(reported)
        if state.is_finished:
            return state
        pause_s = max(MIN_POLL_S, POLL_S if (asked_s := retry_after_s(response)) is None else asked_s)
        remaining_s = deadline_s - time.monotonic()
        if remaining_s <= 0:
            raise JobNotFinishedError(state, timeout_s)
        yield Pause(min(pause_s, remaining_s))


def _look(endpoint: Endpoint, job: Job | str, deadline_s: float, *, has_answered: bool) -> Plan[ApiResponse]:
    """Plan to look at a job. If the gateway does not respond, for example because it restarts, look again.

    Args:
        endpoint: The gateway.
        job: The job.
        deadline_s: When to give up, in seconds of `time.monotonic`.
        has_answered: Whether the gateway has answered before. If not, no answer may mean that its URL is wrong.
    """
    attempt = 0
    while True:
        remaining_s = deadline_s - time.monotonic()
        timeout_s = min(endpoint.limits.timeout_s, max(remaining_s, MIN_LOOK_S))
        try:
            return (yield from exchange(endpoint, ApiRequest("GET", _path(job), timeout_s=timeout_s)))
        except (NoAnswerError, ProblemError) as error:
            remaining_s = deadline_s - time.monotonic()
            is_there = has_answered or isinstance(error, ProblemError)
            if not is_there or not _is_away(error) or remaining_s <= 0:
                raise
            pause_s = max(backoff_s(attempt), error.retry_after_s or 0)
            if attempt == 0:
                log.warning("%s. Trying again while there is time to wait.", str(error).rstrip("."))
        yield Pause(min(pause_s, remaining_s))
        attempt += 1


def _is_away(error: NoAnswerError | ProblemError) -> bool:
    return error.transient or (isinstance(error, ProblemError) and error.problem.status in AWAY_STATUSES)


def get_page(endpoint: Endpoint, job: Job, offset: int) -> Plan[Page]:
    """Plan a page of the results that are there."""
    request = ApiRequest(
        "GET",
        f"{_path(job)}/results",
        query={"offset": str(offset), "limit": str(PAGE_SIZE), "format": "jsonl"},
        headers={"Accept": f"{JSON_LINES}, application/problem+json"},
    )
    response = yield from exchange(endpoint, request)
    if not response.headers.get("content-type", "").startswith(JSON_LINES):
        raise not_as_expected(response, endpoint, "lines of JSON")
    if response.body and (job.model is None or job.model.version is None):  # its first images were answered meanwhile
        job = yield from get(endpoint, job)
    results = parse_results(response.body, job)
    indexes = [result.index for result in results]
    if any(index < lowest for index, lowest in zip(indexes, [offset, *(index + 1 for index in indexes)], strict=False)):
        raise UnexpectedAnswerError(f"{endpoint.url} answered with results in another order, or with one twice")
    has_more = 'rel="next"' in response.headers.get("link", "") and bool(results)
    return Page(results, indexes[-1] + 1 if has_more else None)  # a cancelled job has gaps


def _path(job: Job | str) -> str:
    name = job.id if isinstance(job, Job) else job
    if not is_segment(name):
        raise ValueError(f"{name!r} is not the identifier of a job.")
    return f"{API}/jobs/{quote(name, safe='')}"
