"""The HTTP API: parse, call, serialise."""

import json
from typing import cast

from flask import Blueprint, Response, g, jsonify, request

from gateway.errors import GatewayError
from gateway.http import admission, problems
from gateway.http.admission import Admission
from gateway.http.body_limits import JsonLimits
from gateway.http.headers import CACHE_STATUS
from gateway.http.proxies import itself
from gateway.http.request_parser import Limits, parse
from gateway.model_client.protocol import VersionStatus
from gateway.models.binding import ServedModel
from gateway.models.registry import Catalog, Target
from gateway.observability import metrics
from gateway.observability.timing import Timings
from gateway.prediction import schemas
from gateway.prediction.classifier import Inquiry
from gateway.prediction.predictor import Answering, Results
from gateway.settings import Settings

API_BLUEPRINT = "api"


def create_api(answering: Answering, catalog: Catalog, settings: Settings) -> Blueprint:
    """Make the routes under /api/v1."""
    api = Blueprint(API_BLUEPRINT, __name__, url_prefix="/api/v1")
    admission.register(
        api,
        Admission(places=settings.threads, max_waiting=settings.max_waiting, max_wait_s=settings.max_wait_s),
    )
    limits = Limits(settings.max_images, JsonLimits(settings.max_json_depth, settings.max_json_values))

    @api.post("/predict")
    @api.post("/models/<model>/predict")
    @api.post("/models/<model>/versions/<int:version>/predict")
    @api.post("/models/<model>/labels/<label>/predict")
    def predict(model: str | None = None, version: int | None = None, label: str | None = None) -> Response:
        timings = g.timings = Timings()
        with timings.measured("receive"):
            question = parse(itself(request), default_top_k=settings.default_top_k, limits=limits)
        g.place.hold(len(question.sources))
        target = Target(model, version, label)
        asked = Inquiry(
            target, question.options, g.deadline, request_id=g.request_id, timings=timings, on_choice=_remember
        )
        results = answering.answer(question.sources, asked)
        _remember(results.model)
        _count(results, settings.metrics_max_classes)
        response = _answer_batch(results) if question.is_batch else _answer_one(results)
        if results.cache_status is not None:
            response.headers[CACHE_STATUS] = results.cache_status
        return response

    @api.get("/models")
    def models() -> Response:
        document: schemas.ModelList = {"models": [_model_summary(catalog, name) for name in catalog.names]}
        return jsonify(document)

    @api.get("/models/<model>")
    def model_details(model: str) -> Response:
        statuses = catalog.versions(model, deadline=g.deadline)
        labels = catalog.labels(model, deadline=g.deadline)
        versions = [_version_state(status, labels) for status in statuses]
        document = cast("schemas.ModelDetails", {**_model_summary(catalog, model), "versions": versions})
        if document["available"]:
            served = catalog.get(model, deadline=g.deadline)
            document["card"] = json.loads(served.card.to_json())
        return jsonify(document)

    return api


def _answer_one(results: Results) -> Response:
    (result,) = results.items
    if isinstance(result, GatewayError):
        raise result
    g.log_fields = {"class": result["class"]}
    document: schemas.Answer = {**result, "model": _answered_by(results), "request_id": g.request_id}
    return jsonify(document)


def _answer_batch(results: Results) -> Response:
    items = [problems.item(item) if isinstance(item, GatewayError) else item for item in results.items]
    failed = sum(isinstance(item, GatewayError) for item in results.items)
    g.log_fields = {"images": len(items), "failed": failed}
    document: schemas.BatchAnswer = {"results": items, "model": _answered_by(results), "request_id": g.request_id}
    return jsonify(document)


def _remember(served: ServedModel) -> None:
    """Let the request be counted and logged under the version that is asked, whatever comes of it."""
    g.served = served


def _count(results: Results, max_classes: int) -> None:
    name, version = results.model.name, results.model.version
    for item in results.items:
        if isinstance(item, GatewayError):
            metrics.part(metrics.IMAGES, name, version, item.slug).inc()
            continue
        metrics.part(metrics.IMAGES, name, version, metrics.ANSWERED).inc()
        label = item["class"] if item["class_id"] < max_classes else metrics.OTHER_CLASS
        metrics.part(metrics.TOP_CLASSES, name, label).inc()
        metrics.part(metrics.TOP_SCORES, name).observe(item["score"])


def _answered_by(results: Results) -> schemas.ModelVersion:
    return {"name": results.model.name, "version": results.model.version}


def _version_state(status: VersionStatus, labels: dict[str, int]) -> schemas.VersionState:
    document: schemas.VersionState = {
        "version": status.version,
        "state": status.state,
    }
    own = [label for label, version in labels.items() if version == status.version]
    if own:
        document["labels"] = own
    if status.message:
        document["reason"] = status.message
    return document


def _model_summary(catalog: Catalog, name: str) -> schemas.ModelSummary:
    document: schemas.ModelSummary = {"name": name, "default": name == catalog.default, "available": False}
    try:
        served = catalog.get(name, deadline=g.deadline)
    except GatewayError as error:
        document["reason"] = error.detail
        return document
    card = served.card
    document["available"] = True
    document["version"] = served.version
    document["title"] = card.title
    document["description"] = card.description
    document["task"] = card.task
    document["labels"] = list(card.labels)
    document["explainable"] = served.explain is not None
    return document
