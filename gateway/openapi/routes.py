"""The route of the OpenAPI document."""

from functools import cache

from flask import Blueprint, Response, current_app, json

from gateway.http.revalidation import let_revalidate
from gateway.openapi.document import build
from gateway.settings import Settings


def create_openapi(settings: Settings) -> Blueprint:
    """Create the blueprint of /api/v1/openapi.json."""
    openapi = Blueprint("openapi", __name__)

    @cache  # routes and settings do not change once requests are handled
    def document_json() -> str:
        return json.dumps(build(current_app.url_map.iter_rules(), settings))

    @openapi.get("/api/v1/openapi.json")
    def document() -> Response:
        response = Response(document_json(), mimetype="application/json")
        return let_revalidate(response, is_private=settings.requires_keys)

    return openapi
