"""The HTTP API: parse, call, serialise."""

import base64
import json
from collections.abc import Sequence
from typing import cast

from flask import Blueprint, Response, g, jsonify, request

from gateway import answers, metrics, problems
from gateway.catalog import Catalog, Target
from gateway.classify import Answer, Answers, Classifier, Explanation, Inquiry
from gateway.errors import GatewayError
from gateway.inputs import parse
from gateway.serving import VersionStatus
from gateway.settings import Settings
from gateway.timing import Timings
from vision.postprocess import Prediction

PNG_DATA_URI = "data:image/png;base64,"  # RFC 2397
HEAT_DIGITS = 4


def create_api(classifier: Classifier, catalog: Catalog, settings: Settings) -> Blueprint:
    """Make the routes under /api/v1."""
    api = Blueprint("api", __name__, url_prefix="/api/v1")

    @api.post("/predict")
    @api.post("/models/<model>/predict")
    @api.post("/models/<model>/versions/<int:version>/predict")
    @api.post("/models/<model>/labels/<label>/predict")
    def predict(model: str | None = None, version: int | None = None, label: str | None = None) -> Response:
        timings = g.timings = Timings()
        with timings.measured("receive"):
            question = parse(request, default_top_k=settings.default_top_k, max_images=settings.max_images)
        target = Target(model, version, label)
        asked = Inquiry(target, question.options, g.deadline, request_id=g.request_id, timings=timings)
        answered = classifier.classify(question.sources, asked)
        return _answer_batch(answered) if question.is_batch else _answer_one(answered)

    @api.get("/models")
    def models() -> Response:
        document: answers.ModelList = {"models": [_model_summary(catalog, name) for name in catalog.names]}
        return jsonify(document)

    @api.get("/models/<model>")
    def model_details(model: str) -> Response:
        statuses = catalog.versions(model, deadline=g.deadline)
        labels = catalog.labels(model, deadline=g.deadline)
        versions = [_version_state(status, labels) for status in statuses]
        document = cast("answers.ModelDetails", {**_model_summary(catalog, model), "versions": versions})
        if document["available"]:
            served = catalog.get(model, deadline=g.deadline)
            document["card"] = json.loads(served.card.to_json())
        return jsonify(document)

    return api


def _answer_one(answered: Answers) -> Response:
    (result,) = answered.results
    if isinstance(result, GatewayError):
        raise result
    model = _answered_by(answered, 1)
    g.log_fields["class"] = result.best.label
    document: answers.Answer = {**_result(result), "model": model, "request_id": g.request_id}
    return jsonify(document)


def _answer_batch(answered: Answers) -> Response:
    results = [problems.item(item) if isinstance(item, GatewayError) else _result(item) for item in answered.results]
    failed = sum(isinstance(item, GatewayError) for item in answered.results)
    model = _answered_by(answered, len(results) - failed)
    g.log_fields |= {"images": len(results), "failed": failed}
    document: answers.BatchAnswer = {"results": results, "model": model, "request_id": g.request_id}
    return jsonify(document)


def _answered_by(answered: Answers, images: int) -> answers.ModelVersion:
    served = answered.model
    metrics.PREDICTIONS.labels(served.name, served.version).inc(images)
    g.log_fields = {"model": served.name, "version": served.version}
    return {"name": served.name, "version": served.version}


def _result(answer: Answer) -> answers.Result:
    document: answers.Result = {
        "class": answer.best.label,
        "class_id": answer.best.class_id,
        "score": answer.best.score,
        "predictions": _predictions(answer.predictions),
    }
    if answer.present is not None:
        document["classes"] = _predictions(answer.present)
    if answer.explanation is not None:
        document["explanation"] = _explanation(answer.best, answer.explanation)
    return document


def _explanation(best: Prediction, explanation: Explanation) -> answers.DrawnHeatMap | answers.HeatMap:
    if explanation.drawing is not None:
        drawing = PNG_DATA_URI + base64.b64encode(explanation.drawing).decode()
        return {"class": best.label, "class_id": best.class_id, "heatmap": drawing}
    height, width = explanation.heat.shape
    numbers = [[round(value, HEAT_DIGITS) for value in row] for row in explanation.heat.tolist()]
    return {"class": best.label, "class_id": best.class_id, "height": height, "width": width, "heatmap": numbers}


def _predictions(predictions: Sequence[Prediction]) -> list[answers.Prediction]:
    return [{"class": item.label, "class_id": item.class_id, "score": item.score} for item in predictions]


def _version_state(status: VersionStatus, labels: dict[str, int]) -> answers.VersionState:
    document: answers.VersionState = {
        "version": status.version,
        "state": status.state,
    }
    own = [label for label, version in labels.items() if version == status.version]
    if own:
        document["labels"] = own
    if status.message:
        document["reason"] = status.message
    return document


def _model_summary(catalog: Catalog, name: str) -> answers.ModelSummary:
    document: answers.ModelSummary = {"name": name, "default": name == catalog.default, "available": False}
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
    return document
