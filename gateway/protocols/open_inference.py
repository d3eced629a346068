"""Open Inference Protocol v2 over HTTP, as KServe and Triton speak it.

https://github.com/kserve/open-inference-protocol

With two of Triton's extensions: binary tensors, and classification, which returns labels.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
from flask import Blueprint, Response, g, jsonify, request

from gateway import __version__
from gateway.capacity import Admission
from gateway.deadline import Timings
from gateway.health.readiness import Readiness
from gateway.http.headers import INFERENCE_JSON_BYTES
from gateway.http.json_objects import JsonLimits
from gateway.http.request_context import unwrap
from gateway.http.request_parser import RequestLimits
from gateway.http.views import complete, register_admission
from gateway.model_client.protocol import TensorSpec
from gateway.models.binding import ServedModel
from gateway.models.registry import AVAILABLE, ModelRegistry, ModelTarget
from gateway.prediction import schemas
from gateway.prediction.predictor import Predictor
from gateway.protocols.infer_request import InferParser, InferRequest
from gateway.protocols.predictions import class_scores, predict_all
from gateway.protocols.tensors import BYTES, DATATYPES, input_spec
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.http.bodies import BodyRequest

PREFIX = "/v2"
EXTENSIONS = ("binary_tensor_data", "classification")
PLATFORM = "tensorflow_savedmodel"
SCORES = "float32"


def create_status(readiness: Readiness) -> Blueprint:
    """Return the routes that tell the state of the server, which need no place: orchestrators send these requests."""
    status = Blueprint("open_inference_status", __name__, url_prefix=PREFIX)

    @status.get("")
    def server() -> Response:
        return jsonify({"name": "image-gateway", "version": __version__, "extensions": EXTENSIONS})

    @status.get("/health/live")
    def live() -> Response:
        return jsonify({"live": True})

    @status.get("/health/ready")
    def ready() -> Response:
        readiness.check()
        return jsonify({"ready": True})

    return status


def create_open_inference(
    predictor: Predictor, registry: ModelRegistry, admission: Admission, settings: Settings
) -> Blueprint:
    """Return the routes of models."""
    models = Blueprint("open_inference", __name__, url_prefix=f"{PREFIX}/models/<model>")
    register_admission(models, admission)
    limits = RequestLimits(settings.max_images, JsonLimits(settings.max_json_depth, settings.max_json_values))
    parser = InferParser(limits)

    @models.get("")
    @models.get("/versions/<int:version>")
    def metadata(model: str, version: int | None = None) -> Response:
        served = registry.resolve(ModelTarget(model, version), deadline=g.deadline)
        statuses = registry.version_statuses(model, deadline=g.deadline)
        versions = [str(status.version) for status in reversed(statuses) if status.state == AVAILABLE]
        scores = TensorSpec(SCORES, (None, len(served.card.labels)))
        return jsonify(
            {
                "name": model,
                "versions": versions,
                "platform": PLATFORM,
                "inputs": [_describe(served.input_name, input_spec(served))],
                "outputs": [_describe(served.call.output, scores)],
            }
        )

    @models.get("/ready")
    @models.get("/versions/<int:version>/ready")
    def model_ready(model: str, version: int | None = None) -> Response:
        registry.resolve(ModelTarget(model, version), deadline=g.deadline)
        return jsonify({"name": model, "ready": True})

    @models.post("/infer")
    @models.post("/versions/<int:version>/infer")
    def infer(model: str, version: int | None = None) -> Response:
        context, target = unwrap(g), ModelTarget(model, version)
        context.timings = Timings()
        with context.timings.measure("receive"):
            http_request = cast("BodyRequest", unwrap(request))
            served = registry.resolve(target, deadline=context.deadline)
            infer_request = parser.parse(http_request, served, deadline=context.deadline)
        result, predictions = predict_all(
            predictor, infer_request.images, target, max_classes=settings.metrics_max_classes
        )
        return complete(_respond(infer_request, result.model, predictions), result)

    return models


def _describe(name: str, spec: TensorSpec) -> dict[str, object]:
    shape = [-1 if size is None else size for size in spec.shape or ()]
    return {"name": name, "datatype": DATATYPES[spec.dtype], "shape": shape}


def _respond(infer_request: InferRequest, served: ServedModel, predictions: Sequence[schemas.Prediction]) -> Response:
    tensor, binary = _output(infer_request, served, predictions)
    document: dict[str, object] = {"model_name": served.name, "model_version": str(served.version)}
    if infer_request.id is not None:
        document["id"] = infer_request.id
    document["outputs"] = [tensor]
    if binary is None:
        return jsonify(document)
    header = json.dumps(document).encode()
    response = Response(header + binary, mimetype="application/octet-stream")
    response.headers[INFERENCE_JSON_BYTES] = str(len(header))
    return response


def _output(
    infer_request: InferRequest, served: ServedModel, predictions: Sequence[schemas.Prediction]
) -> tuple[dict[str, object], bytes | None]:
    """Return the output tensor, and its elements if they follow the JSON."""
    classes = infer_request.output.classes
    rows: list[list[float]] | list[list[str]]
    if classes is None:
        rows = [class_scores(prediction) for prediction in predictions]
        datatype, binary = DATATYPES[SCORES], np.array(rows, "<f4").tobytes()
    else:
        rows = [_labels(prediction, classes) for prediction in predictions]
        datatype, binary = BYTES, b"".join(map(_with_length, [text for row in rows for text in row]))
    tensor = {"name": served.call.output, "datatype": datatype, "shape": [len(rows), len(rows[0])]}
    if infer_request.output.is_binary:
        return {**tensor, "parameters": {"binary_data_size": len(binary)}}, binary
    return {**tensor, "data": [item for row in rows for item in row]}, None


def _labels(prediction: schemas.Prediction, classes: int) -> list[str]:
    """Return the best classes as Triton's extension_classification writes them."""
    return [f"{item['score']:f}:{item['class_id']}:{item['class']}" for item in prediction["predictions"][:classes]]


def _with_length(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4, "little") + encoded
