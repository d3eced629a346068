"""The HTTP API: parse the request, call the predictor, serialise the response."""

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response, g, jsonify, request

from gateway.capacity import Admission
from gateway.deadline import Timings
from gateway.errors import GatewayError
from gateway.http import problems
from gateway.http.headers import CACHE_STATUS, prefers_async
from gateway.http.json_objects import JsonLimits
from gateway.http.model_documents import describe_model, list_models
from gateway.http.request_context import request_client, unwrap
from gateway.http.request_parser import RequestLimits, RequestParser
from gateway.http.revalidation import let_revalidate
from gateway.models.registry import ModelRegistry, ModelTarget
from gateway.observability import metrics
from gateway.prediction import schemas
from gateway.prediction.predictor import PredictionRequest, PredictionResult, Predictor
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.http.bodies import BodyRequest


def create_api(
    predictor: Predictor,
    registry: ModelRegistry,
    admission: Admission,
    settings: Settings,
    *,
    defer: Callable[[PredictionRequest], Response] | None = None,
) -> Blueprint:
    """Return the routes under /api/v1.

    Args:
        predictor: Classifies images.
        registry: Knows the models.
        admission: Admits requests.
        settings: The settings.
        defer: Answers a request later, for callers that prefer that; None if there are no jobs.
    """
    api = Blueprint("api", __name__, url_prefix="/api/v1")
    register_admission(api, admission)
    limits = RequestLimits(settings.max_images, JsonLimits(settings.max_json_depth, settings.max_json_values))
    parser = RequestParser(limits, default_top_k=settings.default_top_k)

    @api.post("/predict")
    @api.post("/models/<model>/predict")
    @api.post("/models/<model>/versions/<int:version>/predict")
    @api.post("/models/<model>/labels/<label>/predict")
    # The same for generated clients, which can send only one media type to each path.
    @api.post("/predict/json")
    @api.post("/models/<model>/predict/json")
    @api.post("/models/<model>/versions/<int:version>/predict/json")
    @api.post("/models/<model>/labels/<label>/predict/json")
    def predict(model: str | None = None, version: int | None = None, label: str | None = None) -> Response:
        http_request, context = cast("BodyRequest", unwrap(request)), unwrap(g)
        context.timings = Timings()
        with context.timings.measure("receive"):
            prediction_request = parser.parse(
                http_request,
                ModelTarget(model, version, label),
                deadline=context.deadline,
                request_id=context.request_id,
                timings=context.timings,
            )
        if defer is not None and prefers_async(http_request.headers) and prediction_request.options.explain is None:
            return defer(prediction_request)
        result = classify(predictor, prediction_request, max_classes=settings.metrics_max_classes)
        _name_fields(prediction_request, result)
        return complete(_respond_batch(result) if prediction_request.is_batch else _respond_single(result), result)

    @api.get("/models")
    def models() -> Response:
        return let_revalidate(jsonify(list_models(registry, deadline=g.deadline)), is_private=settings.requires_keys)

    @api.get("/models/<model>")
    def model_details(model: str) -> Response:
        return let_revalidate(
            jsonify(describe_model(registry, model, deadline=g.deadline)), is_private=settings.requires_keys
        )

    return api


def classify(predictor: Predictor, prediction_request: PredictionRequest, *, max_classes: int) -> PredictionResult:
    """Predict, and count the images: against the rate limits before, and in the metrics after.

    Args:
        predictor: Classifies the images.
        prediction_request: The request, of which only the images are in memory from here on.
        max_classes: Number of classes of a model that are counted separately.

    Raises:
        GatewayError: The images exceed a rate limit, or none can be classified; see `Predictor`.
    """
    context = unwrap(g)
    if "count_images" in context:  # there are rate limits
        context.count_images(len(prediction_request.images))
    if context.place.body is not None:
        context.place.body.resize(prediction_request.size)
    result = predictor.predict(prediction_request)
    context.model_version = (result.model.name, result.model.version)
    _count(result, max_classes)
    return result


def complete(response: Response, result: PredictionResult) -> Response:
    """Hold memory for a response until it is sent, and report whether the result came from the cache."""
    unwrap(g).place.respond(response.content_length or 0)
    if result.cache_status is not None:
        response.headers[CACHE_STATUS] = result.cache_status
    return response


def register_admission(api: Blueprint, admission: Admission) -> None:
    """Admit every request of these routes before it is handled; its place is `g.place`."""

    def enter() -> None:
        http_request, context = cast("BodyRequest", unwrap(request)), unwrap(g)
        context.place = http_request.place = admission.enter(request_client(), deadline=context.deadline)
        if http_request.method != "POST":  # a prediction starts once its images are there
            context.place.start(1)

    def keep(response: Response) -> Response:
        place = unwrap(g).get("place")
        # gunicorn sends the response in this thread, as slowly as the client reads, and then closes it.
        if place is not None and "gunicorn.socket" in unwrap(request).environ:
            place.is_released_after_sending = True
            response.call_on_close(place.release)
        return response

    def release(error: BaseException | None) -> None:
        place = unwrap(g).get("place")
        if place is not None:
            place.free_slots()
            if error is not None or not place.is_released_after_sending:
                place.release()

    api.before_request(enter)
    api.after_request(keep)
    api.teardown_request(release)


def _name_fields(prediction_request: PredictionRequest, result: PredictionResult) -> None:
    """Add to the errors that the caller can mend where in the request their images stand."""
    for image, item in zip(prediction_request.images, result.predictions, strict=True):
        if isinstance(item, GatewayError) and not isinstance(image, GatewayError):
            is_mendable = problems.PROBLEMS[type(item)].status < HTTPStatus.INTERNAL_SERVER_ERROR
            if image.field and is_mendable:
                item.members.setdefault("field", image.field)


def _respond_single(result: PredictionResult) -> Response:
    (prediction,) = result.predictions
    if isinstance(prediction, GatewayError):
        raise prediction
    context = unwrap(g)
    context.log_fields = {"class": prediction["class"]}
    document: schemas.PredictionResponse = {
        **prediction,
        "model": _model_version(result),
        "request_id": context.request_id,
    }
    return jsonify(document)


def _respond_batch(result: PredictionResult) -> Response:
    items = [
        problems.make_item_problem(item) if isinstance(item, GatewayError) else item for item in result.predictions
    ]
    failed = sum(isinstance(item, GatewayError) for item in result.predictions)
    g.log_fields = {"images": len(items), "failed": failed}
    document: schemas.BatchPredictionResponse = {
        "kind": "batch",
        "results": items,
        "answered": len(items) - failed,
        "failed": failed,
        "model": _model_version(result),
        "request_id": g.request_id,
    }
    return jsonify(document)


def _count(result: PredictionResult, max_classes: int) -> None:
    name, version = result.model.name, result.model.version
    for prediction in result.predictions:
        if isinstance(prediction, GatewayError):
            metrics.child(metrics.IMAGES, name, version, prediction.slug).inc()
            continue
        metrics.child(metrics.IMAGES, name, version, metrics.ANSWERED).inc()
        label = prediction["class"] if prediction["class_id"] < max_classes else metrics.OTHER_CLASS
        metrics.child(metrics.TOP_CLASSES, name, label).inc()
        metrics.child(metrics.TOP_SCORES, name).observe(prediction["score"])


def _model_version(result: PredictionResult) -> schemas.ModelVersion:
    return {"name": result.model.name, "version": result.model.version}
