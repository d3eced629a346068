"""Predictions and the status of versions as TensorFlow Serving's REST API has them.

https://www.tensorflow.org/tfx/serving/api_rest, except that image files go through the gateway's preparation.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response, g, jsonify, request
from werkzeug.routing import BaseConverter

from gateway.capacity import Admission
from gateway.deadline import Timings
from gateway.errors import VersionNotFoundError
from gateway.http.json_objects import JsonLimits
from gateway.http.request_context import unwrap
from gateway.http.request_parser import RequestLimits
from gateway.http.views import complete, register_admission
from gateway.model_client.protocol import VersionStatus
from gateway.models.registry import ModelRegistry, ModelTarget
from gateway.prediction.predictor import Predictor
from gateway.protocols.predict_request import PredictParser
from gateway.protocols.predictions import class_scores, predict_all
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.http.bodies import BodyRequest

PREFIX = "/v1/models"


class NameConverter(BaseConverter):
    """The name of a model in a path that may go on with a colon and a verb."""

    regex = "[^/:]+"


def create_tensorflow_serving(
    predictor: Predictor, registry: ModelRegistry, admission: Admission, settings: Settings
) -> Blueprint:
    """Return the routes under /v1/models, for an application with `NameConverter` as its converter `name`."""
    api = Blueprint("tensorflow_serving", __name__, url_prefix=PREFIX)
    register_admission(api, admission)
    limits = RequestLimits(settings.max_images, JsonLimits(settings.max_json_depth, settings.max_json_values))
    parser = PredictParser(limits)

    @api.post("/<name:model>:predict")
    @api.post("/<name:model>/versions/<int:version>:predict")
    @api.post("/<name:model>/labels/<name:label>:predict")
    def predict(model: str, version: int | None = None, label: str | None = None) -> Response:
        context, target = unwrap(g), ModelTarget(model, version, label)
        context.timings = Timings()
        with context.timings.measure("receive"):
            http_request = cast("BodyRequest", unwrap(request))
            served = registry.resolve(target, deadline=context.deadline)
            images, answer = parser.parse(http_request, served, deadline=context.deadline)
        result, predictions = predict_all(predictor, images, target, max_classes=settings.metrics_max_classes)
        return complete(jsonify({answer: list(map(class_scores, predictions))}), result)

    @api.get("/<name:model>")
    @api.get("/<name:model>/versions/<int:version>")
    def status(model: str, version: int | None = None) -> Response:
        statuses = registry.version_statuses(model, deadline=g.deadline)
        if version is not None:
            statuses = [status for status in statuses if status.version == version]
            if not statuses:
                raise VersionNotFoundError(f"The model server has no version {version} of {model}.")
        return jsonify({"model_version_status": _describe(statuses)})

    return api


def _describe(statuses: Sequence[VersionStatus]) -> list[dict[str, object]]:
    return [
        {
            "version": str(status.version),
            "state": status.state,
            "status": {"error_code": "UNKNOWN" if status.message else "OK", "error_message": status.message},
        }
        for status in statuses
    ]
