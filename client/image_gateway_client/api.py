"""The client: classify one image, a batch, or any number of images."""

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self, TypedDict, Unpack
from urllib.parse import quote

from image_gateway_client.answers import (
    Answer,
    Health,
    Model,
    parse_answer,
    parse_batch,
    parse_model,
    parse_models,
    parse_ready,
)
from image_gateway_client.batches import IMAGE_STATUSES, Outcome, classify_batch, classify_in_order, split_into_batches
from image_gateway_client.errors import NoAnswerError, ProblemError
from image_gateway_client.images import MEBIBYTE, Image, ImageBytes, ImageUrl, Source, load
from image_gateway_client.transport import Limits, Transport

API = "/api/v1"
BATCH_BYTES = 7 * MEBIBYTE
"""Below the gateway's default limit of 10 MiB, even as base64, which a batch with URLs uses."""


class Options(TypedDict, total=False):
    """Options of a classification.

    Attributes:
        model: Name of the model; by default the gateway's default model.
        version: Number of the version; by default the newest.
        label: Label of the version, such as stable; instead of `version`.
        top_k: Number of classes to return.
        threshold: Minimum score, in 0..1, of a returned class.
        explain: Whether to explain the top class: True for a heat map as an image, "raw" for its numbers.
    """

    model: str | None
    version: int | None
    label: str | None
    top_k: int | None
    threshold: float | None
    explain: bool | Literal["raw"]


class Client:
    """Client of one gateway; safe to use from many threads.

    Args:
        url: Address of the gateway, such as http://localhost:8080.
        api_key: Key that is sent with every request; None for no key.
        timeout_s: Maximum time for a call, including retries and the pauses before them. It is sent to the gateway,
            which stops working on a request when its time is over.
        connect_timeout_s: Maximum time to open a connection.
        retries: Maximum number of retries after 429, 503 or a broken connection. The pause before a retry is the one
            requested by Retry-After; without it, pauses grow. No pause exceeds `timeout_s`.
        connections: Maximum number of requests that `classify_many` sends at once.
        max_image_bytes: Maximum size of an image file.

    Raises:
        ValueError: An argument is not valid.
    """

    def __init__(  # noqa: PLR0913  # all but the first are keyword-only
        self,
        url: str = "http://localhost:8080",
        *,
        api_key: str | None = None,
        timeout_s: float = 60.0,
        connect_timeout_s: float = 5.0,
        retries: int = 3,
        connections: int = 4,
        max_image_bytes: int = 64 * MEBIBYTE,
    ) -> None:
        limits = Limits(timeout_s, connect_timeout_s, retries, connections)
        self._transport = Transport(url, api_key=api_key, limits=limits)
        self._connections = connections
        self._max_image_bytes = max_image_bytes

    def __enter__(self) -> Self:
        """Return this client."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def classify(self, image: Image, **options: Unpack[Options]) -> Answer:
        """Classify one image.

        Args:
            image: A path, an http(s) URL for the gateway to fetch, a file open for reading bytes, the bytes of an
                encoded image, or an array uint8[H, W] gray or uint8[H, W, 3] RGB.
            options: See `Options`.

        Raises:
            ImageGatewayError: The request failed; the subclass says how.
            OSError: The file cannot be read, is empty or too large.
            TypeError: `image` is not an image.
            ValueError: `image` is an array of another shape or type, or the options contradict each other.
        """
        return self._send_one(load(image, max_bytes=self._max_image_bytes), options)

    def classify_batch(self, images: Sequence[Image], **options: Unpack[Options]) -> list[Outcome]:
        """Classify several images in one request. The gateway limits the size of a request.

        Args:
            images: The images, each as for `classify`.
            options: See `Options`.

        Returns:
            An answer or a problem for each image, in order.

        Raises:
            ImageGatewayError: The whole request failed; the subclass says how.
            OSError: A file cannot be read, is empty or too large.
            TypeError: `images` is a single image, or one of them is not an image.
            ValueError: An array has another shape or type, or the options contradict each other.
        """
        return self._send([load(image, max_bytes=self._max_image_bytes) for image in _check_several(images)], options)

    def classify_many(
        self,
        images: Iterable[Image],
        *,
        batch_size: int = 16,
        batch_bytes: int = BATCH_BYTES,
        **options: Unpack[Options],
    ) -> Iterator[Outcome]:
        """Classify any number of images, in batches; several batches are sent at once.

        Args:
            images: The images, each as for `classify`; consumed as needed.
            batch_size: Maximum number of images in a request.
            batch_bytes: Maximum size of the files in a request; a larger file is sent in a request of its own.
            options: See `Options`.

        Yields:
            An answer or a problem for each image, in order. A file that cannot be read is a problem too.

        Raises:
            ImageGatewayError: The gateway cannot classify any image now. The outcomes so far have been yielded.
            TypeError: `images` is a single image.
            ValueError: `batch_size` is below 1, or the options contradict each other.
        """
        if batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        predict_path(options)
        send = partial(self._send, options=options)
        classify = partial(classify_batch, send=send, max_bytes=self._max_image_bytes)
        batches = split_into_batches(_check_several(images), batch_size, batch_bytes)
        return classify_in_order(batches, classify, self._connections)

    def models(self) -> list[Model]:
        """List the models that the gateway offers.

        Raises:
            ImageGatewayError: The request failed; the subclass says how.
        """
        return parse_models(self._transport.call("GET", f"{API}/models"))

    def model(self, name: str) -> Model:
        """Return the details of a model: its versions and its card.

        Raises:
            ImageGatewayError: The request failed, or there is no such model; the subclass says how.
        """
        return parse_model(self._transport.call("GET", f"{API}/models/{quote(name, safe='')}"))

    def health(self) -> Health:
        """Check once, without retries, whether the gateway is ready: whether its default model can be used.

        Raises:
            NoAnswerError: There is no response, or not in time.
            UnexpectedAnswerError: The response is not one of a gateway.
        """
        try:
            return parse_ready(self._transport.call("GET", "/readyz", retries=0))
        except ProblemError as error:
            return Health(ready=False, problem=error.problem)

    def ready(self) -> bool:
        """Return whether the gateway responds and its default model can be used.

        Raises:
            UnexpectedAnswerError: The response is not one of a gateway.
        """
        try:
            return self.health().ready
        except NoAnswerError:
            return False

    def _send(self, sources: Sequence[Source], options: Options) -> list[Outcome]:
        if not sources:
            return []
        if len(sources) == 1:
            try:
                return [self._send_one(sources[0], options)]
            except ProblemError as error:
                if error.problem.status not in IMAGE_STATUSES:
                    raise
                return [error.problem]
        document = self._predict(_batch_body(sources), options)
        return parse_batch(document, len(sources))

    def _send_one(self, source: Source, options: Options) -> Answer:
        if isinstance(source, ImageUrl):
            return parse_answer(self._predict({"json": {"url": source.url}}, options))
        body = {"data": source.data, "headers": {"Content-Type": "application/octet-stream"}}
        return parse_answer(self._predict(body, options))

    def _predict(self, body: Mapping[str, Any], options: Options) -> Any:
        return self._transport.call("POST", predict_path(options), params=_parameters(options), **body)


def _check_several(images: Iterable[Image]) -> Iterable[Image]:
    """Refuse a single path or bytes, whose characters would be taken for images."""
    if isinstance(images, str | bytes | bytearray | memoryview):
        raise TypeError(f"expected several images, not a single {type(images).__name__}; put it into a list")
    return images


def _batch_body(sources: Sequence[Source]) -> Mapping[str, Any]:
    """Return the body of a batch: multipart if all are files, JSON if there are URLs among them."""
    if all(isinstance(source, ImageBytes) for source in sources):
        return {"files": [("image", ("image", source.data)) for source in sources if isinstance(source, ImageBytes)]}
    return {"json": {"instances": [_instance(source) for source in sources]}}


def _instance(source: Source) -> Mapping[str, str]:
    if isinstance(source, ImageUrl):
        return {"url": source.url}
    return {"image": base64.b64encode(source.data).decode("ascii")}


def predict_path(options: Options) -> str:
    """Return the path of the route that the options select.

    Raises:
        ValueError: There is a version or label without a model, or both of them.
    """
    model, version, label = options.get("model"), options.get("version"), options.get("label")
    if version is not None and label is not None:
        raise ValueError("Use either a version or a label, not both.")
    if model is None:
        if version is not None or label is not None:
            raise ValueError("A version or a label needs a model; name it.")
        return f"{API}/predict"
    path = f"{API}/models/{quote(model, safe='')}"
    if version is not None:
        path += f"/versions/{version}"
    if label is not None:
        path += f"/labels/{quote(label, safe='')}"
    return f"{path}/predict"


def _parameters(options: Options) -> Mapping[str, str]:
    """Return the options of the query."""
    values = {name: options.get(name) for name in ("top_k", "threshold", "explain")}
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values.items()
        if value is not None and value is not False
    }
