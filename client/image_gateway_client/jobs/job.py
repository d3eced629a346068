"""Jobs and their results as dataclasses."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from image_gateway_client.answers import Outcome, parse_outcome, parsing
from image_gateway_client.errors import ImageGatewayError, Problem, parse_problem
from image_gateway_client.members import get_integer, get_text, get_time

FINISHED = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class JobModel:
    """The model of a job.

    Attributes:
        name: Its name.
        version: The version that classifies all images of the job; None until it is known.
    """

    name: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """The report of the end of a job.

    Attributes:
        url: Where the gateway sends it.
        status: pending, delivered or failed.
    """

    url: str
    status: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it was when the gateway was asked.

    Attributes:
        id: Its identifier.
        status: queued, running, done, failed or cancelled. A job whose images all have problems is done.
        total: The number of its images.
        answered: The number of images that have an answer.
        failed: The number of images that have a problem.
        model: Its model; None until it is known.
        created: When it was submitted.
        started: When its first image was classified; None until then.
        finished: When it ended; None until then.
        expires: When its results are deleted; None until that is known.
        problem: Why the job as a whole failed; otherwise None.
        webhook: The report of its end, if one was requested.
        request_id: Identifier of the request that submitted it, in the gateway's log.
        results: Path of its results below the URL of the gateway; empty if the gateway does not say.
    """

    id: str
    status: str
    total: int
    answered: int = 0
    failed: int = 0
    model: JobModel | None = None
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    expires: datetime | None = None
    problem: Problem | None = None
    webhook: Webhook | None = None
    request_id: str = ""
    results: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.status in FINISHED

    @property
    def processed(self) -> int:
        """The number of images that have a result: an answer or a problem."""
        return self.answered + self.failed


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of one image of a job.

    Attributes:
        index: Position of the image in the job, from 0.
        name: Its file name or URL; empty if it has neither.
        outcome: Its answer or problem.
    """

    index: int
    name: str
    outcome: Outcome


class JobNotFinishedError(ImageGatewayError):
    """A job did not end while the caller waited. It goes on.

    Attributes:
        job: The job as it was last.
    """

    transient = True

    def __init__(self, job: Job, timeout_s: float) -> None:
        super().__init__(
            f"job {job.id} is still {job.status} after {timeout_s:g} s: {job.processed} of {job.total} images"
        )
        self.job = job


def parse_job(document: Any) -> Job:
    """Parse a job.

    Raises:
        UnexpectedAnswerError: The document is not a job.
    """
    with parsing(document, "a job"):
        model, problem, webhook = document.get("model"), document.get("problem"), document.get("webhook")
        return Job(
            id=get_text(document, "id"),
            status=get_text(document, "status"),
            total=get_integer(document, "total"),
            answered=get_integer({"answered": 0, **document}, "answered"),
            failed=get_integer({"failed": 0, **document}, "failed"),
            model=_model(model or {}),
            created=get_time(document, "created"),
            started=get_time(document, "started"),
            finished=get_time(document, "finished"),
            expires=get_time(document, "expires"),
            problem=None if problem is None else parse_problem(problem),
            webhook=None if webhook is None else Webhook(get_text(webhook, "url"), get_text(webhook, "status")),
            request_id=str(document.get("request_id", "")),
            results=str(document.get("results", "")),
        )


def _model(document: Mapping[str, Any]) -> JobModel | None:
    if document.get("name") is None:
        return None
    version = None if document.get("version") is None else get_integer(document, "version")
    return JobModel(get_text(document, "name"), version)


def parse_results(lines: bytes, job: Job) -> list[JobResult]:
    """Parse lines of JSON, each the result of an image.

    Args:
        lines: The lines.
        job: The job, which states the model and the request of all its images.

    Raises:
        UnexpectedAnswerError: A line is not a result.
    """
    results = []
    for line in lines.splitlines():
        with parsing(line, "the result of an image"):
            results.append(_result(json.loads(line), job))
    return results


def _result(item: dict[str, Any], job: Job) -> JobResult:
    index, name = get_integer(item, "index"), get_text({"name": "", **item}, "name")
    model = job.model and {"name": job.model.name, "version": job.model.version}
    outcome = {key: value for key, value in item.items() if key not in {"index", "name"}}
    return JobResult(index, name, parse_outcome({"model": model, "request_id": job.request_id, **outcome}))
