"""Registers the protocols, whose errors are one text instead of a problem document."""

from flask import Flask, Response, json, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from gateway.health.readiness import Readiness
from gateway.http import problems
from gateway.http.route_hints import RouteHints
from gateway.prediction.predictor import Predictor
from gateway.protocols.open_inference import PREFIX as OPEN_INFERENCE_PATH
from gateway.protocols.open_inference import create_open_inference, create_status
from gateway.protocols.tensorflow_serving import PREFIX as TENSORFLOW_SERVING_PATH
from gateway.protocols.tensorflow_serving import NameConverter, create_tensorflow_serving
from gateway.settings import Settings

PATHS = (OPEN_INFERENCE_PATH, TENSORFLOW_SERVING_PATH)


def register(app: Flask, predictor: Predictor, readiness: Readiness, settings: Settings) -> None:
    """Serve the routes of both protocols, with the registry and the admission of the application."""
    registry, admission = app.extensions["registry"], app.extensions["admission"]
    app.url_map.converters["name"] = NameConverter
    for blueprint in (
        create_status(readiness),
        create_open_inference(predictor, registry, admission, settings),
        create_tensorflow_serving(predictor, registry, admission, settings),
    ):
        blueprint.after_request(_simplify)
        app.register_blueprint(blueprint)
    hints = RouteHints(app.url_map)

    def respond_without_route(error: HTTPException) -> Response:
        response = problems.respond_to_http_error(error, hints)
        is_of_protocol = any(request.path == path or request.path.startswith(f"{path}/") for path in PATHS)
        return _simplify(response) if is_of_protocol else response

    app.register_error_handler(NotFound, respond_without_route)
    app.register_error_handler(MethodNotAllowed, respond_without_route)


def _simplify(response: Response) -> Response:
    """Turn a problem document into what both protocols return, `{"error": text}`."""
    if response.mimetype == problems.CONTENT_TYPE:
        response.set_data(json.dumps({"error": json.loads(response.get_data())["detail"]}) + "\n")
        response.mimetype = "application/json"
    return response
