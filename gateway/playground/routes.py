"""Routes of the page at `/` alone: they need a key where predictions do, and may change with the page."""

from typing import TYPE_CHECKING, cast

from flask import Blueprint, Response, g, jsonify, request

from gateway.capacity import Admission
from gateway.deadline import Timings
from gateway.errors import BadRequestError, ModelNotFoundError, VersionNotFoundError
from gateway.http.hints import quote
from gateway.http.json_objects import JsonLimits
from gateway.http.request_context import unwrap
from gateway.http.request_parser import RequestLimits, RequestParser
from gateway.http.revalidation import let_revalidate
from gateway.http.views import register_admission
from gateway.models.registry import ModelRegistry, ModelTarget
from gateway.playground.previews import Previewer
from gateway.playground.samples import Sample, list_samples, read_sample
from gateway.prediction.image_loader import ImageLoader, ImageUrl
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.http.bodies import BodyRequest

SAMPLE_MAX_BYTES = 1024 * 1024
"""The page loads all samples of a version when it opens."""


def create_playground(
    registry: ModelRegistry, image_loader: ImageLoader, admission: Admission, settings: Settings
) -> Blueprint:
    """Return the blueprint of samples and previews.

    Args:
        registry: Knows the models.
        image_loader: Fetches and decodes images by URL.
        admission: Admits requests.
        settings: The settings.
    """
    playground = Blueprint("playground", __name__, url_prefix="/playground")
    register_admission(playground, admission)
    _add_samples(playground, registry, settings)
    previewer = Previewer(image_loader, max_side=settings.preview_max_side, max_pixels=settings.max_pixels)
    _add_preview(playground, previewer, settings)
    return playground


def _add_samples(playground: Blueprint, registry: ModelRegistry, settings: Settings) -> None:
    def samples_of(model: str, version: int) -> list[Sample]:
        if model not in registry.names:
            raise ModelNotFoundError(f"There is no model {quote(model)}. GET /api/v1/models lists the models.")
        return list_samples(
            settings.cards_dir / model / str(version),
            max_samples=settings.samples_max_images,
            max_bytes=min(SAMPLE_MAX_BYTES, settings.max_body_bytes),
        )

    @playground.get("/samples/<model>/<int:version>")
    def samples(model: str, version: int) -> Response:
        items = [{"label": sample.label, "name": sample.path.name} for sample in samples_of(model, version)]
        return let_revalidate(jsonify({"samples": items}), is_private=settings.requires_keys)

    @playground.get("/samples/<model>/<int:version>/<int:index>")
    def sample(model: str, version: int, index: int) -> Response:
        items = samples_of(model, version)
        if index >= len(items):
            raise VersionNotFoundError(f"This version has {len(items)} samples, from 0.")
        content, media_type = read_sample(items[index])
        return let_revalidate(Response(content, mimetype=media_type), is_private=settings.requires_keys)


def _add_preview(playground: Blueprint, previewer: Previewer, settings: Settings) -> None:
    limits = RequestLimits(settings.max_images, JsonLimits(settings.max_json_depth, settings.max_json_values))
    parser = RequestParser(limits, default_top_k=settings.default_top_k)

    @playground.post("/preview")
    def preview() -> Response:
        http_request, context = cast("BodyRequest", unwrap(request)), unwrap(g)
        context.timings = Timings()
        parsed = parser.parse(
            http_request,
            ModelTarget(),
            deadline=context.deadline,
            request_id=context.request_id,
            timings=context.timings,
        )
        if len(parsed.images) != 1 or not isinstance(parsed.images[0], ImageUrl):
            raise BadRequestError("A preview needs exactly one image URL. Send it as the member `url`.")
        jpeg = previewer.draw(parsed.images[0], deadline=context.deadline, timings=context.timings, place=context.place)
        response = Response(jpeg, mimetype="image/jpeg")
        response.headers["Cache-Control"] = "no-store"
        context.place.respond(len(jpeg))
        return response
