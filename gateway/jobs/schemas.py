"""Responses about jobs, member by member, as in `gateway.prediction.schemas`."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # before Python 3.12 pydantic cannot read typing's own

from gateway.jobs.records import Status, WebhookStatus
from gateway.prediction.schemas import ItemProblem

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class JobModel(TypedDict):
    """The model of a job.

    Attributes:
        name: Name the model is served under; absent if the default one is used and none of its versions has answered.
        version: Number of the version that answers all of the job; absent until the first image is answered.
    """

    name: NotRequired[str]
    version: NotRequired[int]


class JobWebhook(TypedDict):
    """How far the announcement of a finished job is.

    Attributes:
        url: Where it goes.
        status: `pending` until it is delivered; `failed` if it could not be delivered in time.
    """

    url: str
    status: WebhookStatus


class Job(TypedDict):
    """A job and how far it is. Times are in UTC (RFC 3339), and absent while they are unknown.

    Attributes:
        id: Identifies the job. Without API keys, anyone who knows it can read and cancel the job.
        status: `queued`, then `running`, then `done`, `failed` or `cancelled`. `failed` means that the job as a whole
            could not be carried out. A job whose images all have a problem is `done`.
        total: Number of images.
        answered: Number of images that have a prediction.
        failed: Number of images that have a problem.
        model: The model that answers.
        created: When the job was accepted.
        started: When the first images were taken on.
        finished: When it was done, failed or cancelled.
        expires: When the job and its results are deleted.
        results: Path of the results.
        problem: Only if `status` is `failed`: why.
        webhook: Only if one was asked for.
        request_id: Id of the request that created the job; identifies it in the log.
    """

    id: str
    status: Status
    total: int
    answered: int
    failed: int
    model: JobModel
    created: Time
    started: NotRequired[Time]
    finished: NotRequired[Time]
    expires: NotRequired[Time]
    results: str
    problem: NotRequired[ItemProblem]
    webhook: NotRequired[JobWebhook]
    request_id: str


DEFAULT_LIMIT, MAX_LIMIT = 1000, 10_000
"""Results in a page, if the request does not say, and at most."""
MAX_OFFSET = 10**9
Format = Literal["jsonl", "csv"]
