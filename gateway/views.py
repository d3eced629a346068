"""The HTTP API: parse, call, serialise."""

import json
from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, g, jsonify, request

from gateway import metrics
from gateway.catalog import Catalog
from gateway.classify import Answer, Classifier
from gateway.errors import GatewayError
from gateway.inputs import parse
from gateway.serving import VersionStatus
from vision.postprocess import Prediction


def create_api(classifier: Classifier, catalog: Catalog, *, default_top_k: int) -> Blueprint:
    """Make the routes under /api/v1."""
    api = Blueprint("api", __name__, url_prefix="/api/v1")

    @api.post("/predict")
    @api.post("/models/<model>/predict")
    def predict(model: str | None = None) -> Response:
        question = parse(request)
        answer = classifier.classify(
            question.source,
            model=model,
            top=question.top_k or default_top_k,
            deadline=g.deadline,
            request_id=g.request_id,
        )
        served = answer.model
        metrics.PREDICTIONS.labels(served.name, served.version).inc()
        g.log_fields = {"model": served.name, "version": served.version, "class": answer.predictions[0].label}
        return jsonify(answer_document(answer) | {"request_id": g.request_id})

    @api.get("/models")
    def models() -> Response:
        return jsonify({"models": [_model_document(catalog, name) for name in catalog.names]})

    @api.get("/models/<model>")
    def model_details(model: str) -> Response:
        versions = catalog.versions(model, deadline=g.deadline)
        document = _model_document(catalog, model, with_card=True)
        return jsonify(document | {"versions": [_version_document(item) for item in versions]})

    return api


def answer_document(answer: Answer) -> dict[str, Any]:
    """Write what a model said about one image."""
    predictions = _prediction_documents(answer.predictions)
    document = {**predictions[0], "predictions": predictions}
    if answer.present is not None:
        document["classes"] = _prediction_documents(answer.present)
    document["model"] = {"name": answer.model.name, "version": answer.model.version}
    return document


def _prediction_documents(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    return [{"class": item.label, "class_id": item.class_id, "score": item.score} for item in predictions]


def _version_document(status: VersionStatus) -> dict[str, Any]:
    document = {"version": status.version, "state": status.state}
    return document | {"reason": status.message} if status.message else document


def _model_document(catalog: Catalog, name: str, *, with_card: bool = False) -> dict[str, Any]:
    document: dict[str, Any] = {"name": name, "default": name == catalog.default}
    try:
        served = catalog.get(name, deadline=g.deadline)
    except GatewayError as error:
        return document | {"available": False, "reason": error.detail}
    card = served.card
    document |= {
        "available": True,
        "version": served.version,
        "title": card.title,
        "description": card.description,
        "task": card.task,
        "labels": list(card.labels),
    }
    return document | {"card": json.loads(card.to_json())} if with_card else document
