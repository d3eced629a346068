"""Plans of classifications, and of what else the gateway is asked."""

import base64
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from image_gateway_client.answers import (
    Answer,
    Batch,
    Health,
    Model,
    Outcome,
    parse_answer,
    parse_batch,
    parse_model,
    parse_models,
    parse_ready,
    parse_version,
)
from image_gateway_client.batches import concerns_images
from image_gateway_client.endpoint import Endpoint
from image_gateway_client.errors import AWAY_STATUSES, NoAnswerError, ProblemError, UnexpectedAnswerError
from image_gateway_client.exchange import call
from image_gateway_client.images import Image, ImageBytes, ImageUrl, Source, load
from image_gateway_client.options import API, Options, predict_path, query, quote_segment
from image_gateway_client.responses import NO_ROUTE_STATUSES
from image_gateway_client.steps import ApiRequest, Body, FileContent, Plan, Work

OCTETS = "application/octet-stream"


def classify(endpoint: Endpoint, image: Image, options: Options, *, max_bytes: int) -> Plan[Answer]:
    """Plan the classification of one image."""
    source = yield Work(partial(load, image, max_bytes=max_bytes))
    body = _url_body(source) if isinstance(source, ImageUrl) else Body(OCTETS, [source.data])
    return (yield from call(endpoint, _predict_request(body, options), parse_answer))


def classify_several(endpoint: Endpoint, images: Iterable[Image], options: Options, *, max_bytes: int) -> Plan[Batch]:
    """Plan the classification of several images in one request."""
    loads = [partial(load, image, max_bytes=max_bytes) for image in images]
    sources = yield Work(lambda: [function() for function in loads])
    return Batch((yield from predict(endpoint, options, sources)))


def predict(endpoint: Endpoint, options: Options, sources: Sequence[Source]) -> Plan[list[Outcome]]:
    """Plan one request for images that are loaded. The problem of a single image is its outcome, as in a batch.

    Raises:
        ProblemError: The request fails as a whole.
    """
    if not sources:
        return []
    if len(sources) > 1:
        request = _predict_request(_batch_body(sources), options)
        return (yield from call(endpoint, request, partial(parse_batch, images=len(sources))))
    (source,) = sources
    # A body of its own would be taken for JSON or a text if the file looks like one, and refused as a whole.
    body = _url_body(source) if isinstance(source, ImageUrl) else _batch_body(sources)
    try:
        return [(yield from call(endpoint, _predict_request(body, options), parse_answer))]
    except ProblemError as error:
        if not concerns_images(error.problem):
            raise
        return [error.problem]


def _predict_request(body: Body, options: Options) -> ApiRequest:
    return ApiRequest("POST", predict_path(options), query=query(options), body=body)


def _url_body(source: ImageUrl) -> Body:
    return json_body({"url": source.url})


def _batch_body(sources: Sequence[Source]) -> Body:
    """Return the body of a batch: multipart if all are files, JSON if there are URLs among them."""
    if all(isinstance(source, ImageBytes) for source in sources):
        return multipart_body([("image", source.data) for source in sources if isinstance(source, ImageBytes)], {})
    return json_body({"instances": [_instance(source) for source in sources]})


def _instance(source: Source) -> Mapping[str, str]:
    if isinstance(source, ImageUrl):
        return {"url": source.url}
    return {"image": base64.b64encode(source.data).decode("ascii")}


def json_body(document: Any) -> Body:
    """Return a body of JSON."""
    return Body("application/json", [json.dumps(document).encode()])


def multipart_body(
    files: Iterable[tuple[str, bytes | FileContent]], fields: Mapping[str, str], content_type: str = OCTETS
) -> Body:
    """Return a body of files, each with the name of its field, and of text fields (RFC 7578)."""
    boundary = secrets.token_hex(16)
    parts: list[bytes | FileContent] = []
    for name, value in fields.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        parts.append(f"{head}{value}\r\n".encode())
    for name, content in files:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        parts += [f"{head}Content-Type: {content_type}\r\n\r\n".encode(), content, b"\r\n"]
    return Body(f"multipart/form-data; boundary={boundary}", [*parts, f"--{boundary}--\r\n".encode()])


def list_models(endpoint: Endpoint) -> Plan[list[Model]]:
    """Plan the list of models."""
    return call(endpoint, ApiRequest("GET", f"{API}/models"), parse_models)


def get_model(endpoint: Endpoint, name: str) -> Plan[Model]:
    """Plan the details of a model.

    Raises:
        ValueError: The name cannot be that of a model.
    """
    return call(endpoint, ApiRequest("GET", f"{API}/models/{quote_segment(name, 'model')}"), parse_model)


def get_version(endpoint: Endpoint) -> Plan[str]:
    """Plan the version of the gateway."""
    return call(endpoint, ApiRequest("GET", "/version"), parse_version)


def get_health(endpoint: Endpoint) -> Plan[Health]:
    """Plan one check, without retries, whether the gateway is ready.

    Raises:
        UnexpectedAnswerError: Another program responds, or the URL is not that of the gateway.
    """
    try:
        return (yield from call(endpoint, ApiRequest("GET", "/readyz", retries=0), parse_ready))
    except ProblemError as error:
        is_gateway = error.is_document and error.problem.status not in NO_ROUTE_STATUSES
        if not is_gateway and error.problem.status not in AWAY_STATUSES:
            raise UnexpectedAnswerError(str(error)) from error
        return Health(ready=False, problem=error.problem)


def get_ready(endpoint: Endpoint) -> Plan[bool]:
    """Plan one check whether the gateway responds and is ready."""
    try:
        return (yield from get_health(endpoint)).ready
    except NoAnswerError:
        return False
