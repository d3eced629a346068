"""The routes of jobs."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response, current_app, g, request

from gateway.deadline import Deadline
from gateway.errors import BadRequestError, GatewayError, JobNotFoundError, ModelNotFoundError, VersionNotFoundError
from gateway.http.headers import IDEMPOTENCY_KEY, PREFERENCE_APPLIED
from gateway.http.hints import quote
from gateway.http.request_context import extend_deadline, request_client, unwrap
from gateway.http.request_parser import check_names, read_query
from gateway.jobs import documents
from gateway.jobs.intake import Caller, JobIntake
from gateway.jobs.options import IDEMPOTENCY_KEYS
from gateway.jobs.records import Job, JobRequest
from gateway.jobs.schemas import DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET, Format
from gateway.jobs.store import JobStore
from gateway.jobs.submissions import Submission, SubmissionParser
from gateway.jobs.uploads import UploadPlaces
from gateway.models.registry import ModelRegistry, ModelTarget
from gateway.prediction.image_loader import ImageUrl
from gateway.prediction.predictor import PredictionRequest

if TYPE_CHECKING:
    from gateway.http.bodies import BodyRequest

POLL_S = 1
"""How often it is worth to ask for a job."""
NUMBER = re.compile(r"[0-9]{1,10}")
JOB_ID = re.compile(r"[0-9a-f]{32}")
MEDIA_TYPES: Mapping[Format, str] = {"jsonl": "application/x-ndjson", "csv": "text/csv"}
RESULT_PARAMETERS = ("offset", "limit", "format")


@dataclass(frozen=True, slots=True)
class JobServices:
    """What the routes use.

    Attributes:
        store: Where the jobs are.
        parser: Parses requests for jobs.
        intake: Accepts them.
        places: Bounds how many are received at the same time.
        registry: Knows the models.
        upload_deadline_s: Time for receiving a job.
        check_deadline_s: Time for asking whether its model is served.
    """

    store: JobStore
    parser: SubmissionParser
    intake: JobIntake
    places: UploadPlaces
    registry: ModelRegistry
    upload_deadline_s: float
    check_deadline_s: float


def create_jobs(services: JobServices, register_admission: Callable[[Blueprint], None]) -> Blueprint:
    """Return the routes under /api/v1/jobs.

    Args:
        services: What they use.
        register_admission: Admits their requests, like all of the API.
    """
    jobs = Blueprint("jobs", __name__, url_prefix=documents.PATH)
    store = services.store

    def allow_upload() -> None:
        if unwrap(request).method == "POST":
            extend_deadline(services.upload_deadline_s)

    jobs.before_request(allow_upload)
    register_admission(jobs)

    @jobs.post("")
    @jobs.post("/json")  # the same for generated clients, which can send only one media type to each path
    def create() -> Response:
        http_request, context = cast("BodyRequest", unwrap(request)), unwrap(g)
        caller = _caller()
        services.intake.check_room(caller)
        with (
            services.places.occupy(request_client(), deadline=context.deadline),
            services.parser.open(http_request, deadline=context.deadline, request_id=context.request_id) as submission,
        ):
            _check_model(services, submission.request)
            return _accepted(services.intake.accept(submission, caller))

    @jobs.get("/<job_id>")
    def read(job_id: str) -> Response:
        return _respond(_find(store, job_id))

    @jobs.delete("/<job_id>")
    def cancel(job_id: str) -> Response:
        job = _find(store, job_id)
        return _respond(store.finish(job_id, "cancelled") or job)

    @jobs.get("/<job_id>/results")
    def results(job_id: str) -> Response:
        query = read_query(unwrap(request))
        check_names(query, RESULT_PARAMETERS, "query parameter")
        offset = _number(query, "offset", 0, lowest=0, highest=MAX_OFFSET)
        limit = _number(query, "limit", DEFAULT_LIMIT, lowest=1, highest=MAX_LIMIT)
        return _respond_results(store, _find(store, job_id), offset, limit, _format(query))

    return jobs


def defer_prediction(services: JobServices, prediction_request: PredictionRequest) -> Response:
    """Answer a request for predictions with a job, as `Prefer: respond-async` asks (RFC 7240 section 4.1)."""
    target, options = prediction_request.target, prediction_request.options
    job_request = JobRequest(
        *(target.model, target.version, target.label, options.top_k, options.threshold, None, None),
        prediction_request.id,
    )
    _check_model(services, job_request)
    images = prediction_request.images
    names = prediction_request.names or [""] * len(images)
    named_images = zip(names, images, strict=True)
    sources = ((image.url if isinstance(image, ImageUrl) else name, image) for name, image in named_images)
    response = _accepted(services.intake.accept(Submission(job_request, len(images), sources), _caller()))
    response.headers[PREFERENCE_APPLIED] = "respond-async"
    return response


def _check_model(services: JobServices, job_request: JobRequest) -> None:
    """Refuse a job for a model that is not served; if the model server is away, the job waits for it."""
    target = ModelTarget(job_request.model, job_request.version, job_request.label)
    try:
        services.registry.resolve(target, deadline=Deadline.after(services.check_deadline_s))
    except (ModelNotFoundError, VersionNotFoundError):
        raise
    except GatewayError:
        return


def _caller() -> Caller:
    context, key = unwrap(g), unwrap(request).headers.get(IDEMPOTENCY_KEY)
    if key is not None and not IDEMPOTENCY_KEYS.fullmatch(key):
        raise BadRequestError(
            f"{IDEMPOTENCY_KEY} must be 1 to 255 visible ASCII characters, not {quote(key)}.", field=IDEMPOTENCY_KEY
        )
    count_images = context.get("count_images") or (lambda _: None)
    return Caller(context.get("key_name", ""), request_client(), key, count_images)


def _find(store: JobStore, job_id: str) -> Job:
    """Return a job of the caller.

    Raises:
        JobNotFoundError: There is none, or it belongs to another API key; the caller is not told which.
    """
    job = store.find(job_id) if JOB_ID.fullmatch(job_id) else None
    if job is None or job.owner != unwrap(g).get("key_name", ""):
        raise JobNotFoundError(
            f"Job {quote(job_id)} does not exist, or it has expired. Check the id, and use the API key that the job "
            "was created with."
        )
    unwrap(g).log_fields = {"job": job.id, "job_status": job.status}
    return job


def _root() -> str:
    """Return the path below which the gateway is published: also where a proxy in front removes it."""
    root: str = current_app.config["PUBLISHED_ROOT"]
    return root


def _accepted(job: Job) -> Response:
    response = _respond(job, status=202)
    response.headers["Location"] = f"{_root()}{documents.PATH}/{job.id}"
    unwrap(g).log_fields = {"job": job.id, "images": job.total}
    return response


def _respond(job: Job, *, status: int = 200) -> Response:
    document = json.dumps(documents.make_document(job, _root()), ensure_ascii=False)
    response = Response(f"{document}\n", status=status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    if not job.is_finished:
        response.headers["Retry-After"] = str(POLL_S)
    return response


def _respond_results(store: JobStore, job: Job, offset: int, limit: int, form: Format) -> Response:
    found = store.results(job.id, offset, limit, contiguous=not job.is_finished)
    is_first = offset == 0 and (bool(found) or job.is_finished)
    text = documents.make_csv(found, header=is_first) if form == "csv" else documents.make_lines(found)
    response = Response(text, content_type=f"{MEDIA_TYPES[form]}; charset=utf-8")
    unwrap(g).place.respond(response.content_length or 0)
    response.headers["Cache-Control"] = "no-store"
    end = found[-1].index + 1 if found else offset
    if end < job.total and (found or not job.is_finished):
        path = f"{_root()}{documents.PATH}/{job.id}/results"
        response.headers["Link"] = f'<{path}?offset={end}&limit={limit}&format={form}>; rel="next"'
    return response


def _number(query: Mapping[str, str], name: str, default: int, *, lowest: int, highest: int) -> int:
    text = query.get(name) or ""
    if not text:
        return default
    if not NUMBER.fullmatch(text) or not lowest <= int(text) <= highest:
        raise BadRequestError(
            f"{name} must be a whole number from {lowest} to {highest}, not {quote(text)}.", field=name
        )
    return int(text)


def _format(query: Mapping[str, str]) -> Format:
    """Return the format that the query or the header Accept asks for."""
    text = query.get("format") or ""
    if text in MEDIA_TYPES:
        return cast("Format", text)
    if text:
        raise BadRequestError(f"format must be jsonl or csv, not {quote(text)}.", field="format")
    best = unwrap(request).accept_mimetypes.best_match(MEDIA_TYPES.values())
    return "csv" if best == MEDIA_TYPES["csv"] else "jsonl"
