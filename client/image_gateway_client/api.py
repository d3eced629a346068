"""The client: one image, a batch, or any number of images to their answers."""

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
from image_gateway_client.batches import ABOUT_THE_IMAGES, Outcome, answered, in_batches, in_order
from image_gateway_client.errors import NoAnswerError, ProblemError
from image_gateway_client.images import Image, Link, Source, Upload, load
from image_gateway_client.transport import Limits, Transport

API = "/api/v1"
MEBIBYTE = 1024 * 1024
BATCH_BYTES = 7 * MEBIBYTE
"""Below the 10 MiB that a gateway takes by default, also as base64, which a batch with URLs in it needs."""


class Options(TypedDict, total=False):
    """What every question may say besides its images.

    Attributes:
        model: Name of the model; without it the gateway's default one answers.
        version: Number of its version; without it the newest one answers.
        label: Name that points at a version, such as stable; in place of `version`.
        top_k: How many classes to rank.
        threshold: Least score, in 0..1, of the classes named.
        explain: Whether to tell where the best class was seen: True for a picture, "raw" for numbers.
    """

    model: str | None
    version: int | None
    label: str | None
    top_k: int | None
    threshold: float | None
    explain: bool | Literal["raw"]


class Client:
    """One Image Gateway; safe to use from many threads.

    Args:
        url: Where it listens, as in http://localhost:8080.
        api_key: Sent with every request; None for none.
        timeout_s: Longest time for one answer, further tries and the pauses between them included. The gateway is
            told, so that it stops working on what nobody waits for.
        connect_timeout_s: Longest time for one connection to be made.
        retries: How often a request is sent again that was refused with 429 or 503 or whose connection broke; after as
            long as Retry-After asks, if that is within `timeout_s`, else at growing intervals.
        connections: How many requests of `classify_many` are under way at once.
        max_image_bytes: Longest file that is read and sent.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(  # noqa: PLR0913  # all but the first stand by their name
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
        """Ask about one image.

        Args:
            image: A path, an http(s) URL for the gateway to fetch, a file open for reading bytes, the bytes of an
                encoded picture, or an array uint8[H, W] gray or uint8[H, W, 3] RGB.
            options: See `Options`.

        Raises:
            ImageGatewayError: There is no answer; the subclass tells why.
            OSError: The file cannot be read, is empty or too long.
            TypeError: `image` is nothing that can be classified.
            ValueError: It is an array of another shape or type, or the options contradict each other.
        """
        return self._ask_one(load(image, max_bytes=self._max_image_bytes), options)

    def classify_batch(self, images: Sequence[Image], **options: Unpack[Options]) -> list[Outcome]:
        """Ask about several images in one request, of which the gateway limits the length.

        Args:
            images: Each as for `classify`.
            options: See `Options`.

        Returns:
            For each image, in order, its answer, or the problem that it has.

        Raises:
            ImageGatewayError: There is an answer to none of them; the subclass tells why.
            OSError: A file cannot be read, is empty or too long.
            TypeError: `images` is a single one, or one of them is nothing that can be classified.
            ValueError: One is an array of another shape or type, or the options contradict each other.
        """
        return self._ask([load(image, max_bytes=self._max_image_bytes) for image in _several(images)], options)

    def classify_many(
        self,
        images: Iterable[Image],
        *,
        batch_size: int = 16,
        batch_bytes: int = BATCH_BYTES,
        **options: Unpack[Options],
    ) -> Iterator[Outcome]:
        """Ask about any number of images, in batches of which several are under way at once.

        Args:
            images: Each as for `classify`; taken as they are needed.
            batch_size: Most images in one request.
            batch_bytes: Most bytes of files in one request; a longer file goes alone.
            options: See `Options`.

        Yields:
            For each image, in order, its answer, or the problem that it has, be it a file that cannot be read.

        Raises:
            ImageGatewayError: No image can be answered now; those before have been.
            TypeError: `images` is a single one.
            ValueError: `batch_size` is below 1, or the options contradict each other.
        """
        if batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        predict_path(options)
        ask = partial(answered, ask=partial(self._ask, options=options), max_bytes=self._max_image_bytes)
        return in_order(in_batches(_several(images), batch_size, batch_bytes), ask, self._connections)

    def models(self) -> list[Model]:
        """List the models offered.

        Raises:
            ImageGatewayError: There is no answer; the subclass tells why.
        """
        return parse_models(self._transport.call("GET", f"{API}/models"))

    def model(self, name: str) -> Model:
        """Ask about one model: its versions and its card.

        Raises:
            ImageGatewayError: There is no answer, or no such model; the subclass tells why.
        """
        return parse_model(self._transport.call("GET", f"{API}/models/{quote(name, safe='')}"))

    def health(self) -> Health:
        """Ask once, without further tries, whether the gateway is ready, which means that its default model answers.

        Raises:
            NoAnswerError: Nobody answers, or not in time.
            UnexpectedAnswerError: What answers is no Image Gateway.
        """
        try:
            return parse_ready(self._transport.call("GET", "/readyz", retries=0))
        except ProblemError as error:
            return Health(ready=False, problem=error.problem)

    def ready(self) -> bool:
        """Tell whether the gateway answers and its default model can be used.

        Raises:
            UnexpectedAnswerError: What answers is no Image Gateway.
        """
        try:
            return self.health().ready
        except NoAnswerError:
            return False

    def _ask(self, sources: Sequence[Source], options: Options) -> list[Outcome]:
        if not sources:
            return []
        if len(sources) == 1:
            try:
                return [self._ask_one(sources[0], options)]
            except ProblemError as error:
                if error.problem.status not in ABOUT_THE_IMAGES:
                    raise
                return [error.problem]
        document = self._predict(_batch_body(sources), options)
        return parse_batch(document, len(sources))

    def _ask_one(self, source: Source, options: Options) -> Answer:
        if isinstance(source, Link):
            return parse_answer(self._predict({"json": {"url": source.url}}, options))
        body = {"data": source.data, "headers": {"Content-Type": "application/octet-stream"}}
        return parse_answer(self._predict(body, options))

    def _predict(self, body: Mapping[str, Any], options: Options) -> Any:
        return self._transport.call("POST", predict_path(options), params=_parameters(options), **body)


def _several(images: Iterable[Image]) -> Iterable[Image]:
    """Refuse a path or bytes, whose letters would be taken for images."""
    if isinstance(images, str | bytes | bytearray | memoryview):
        raise TypeError(f"expected several images, not one {type(images).__name__}; put it into a list")
    return images


def _batch_body(sources: Sequence[Source]) -> Mapping[str, Any]:
    """Write the body of a batch: files as they are, or, where there are URLs among them, all as JSON."""
    if all(isinstance(source, Upload) for source in sources):
        return {"files": [("image", ("image", source.data)) for source in sources if isinstance(source, Upload)]}
    return {"json": {"instances": [_instance(source) for source in sources]}}


def _instance(source: Source) -> Mapping[str, str]:
    if isinstance(source, Link):
        return {"url": source.url}
    return {"image": base64.b64encode(source.data).decode("ascii")}


def predict_path(options: Options) -> str:
    """Find the route.

    Raises:
        ValueError: A version or a label without model, or both.
    """
    model, version, label = options.get("model"), options.get("version"), options.get("label")
    if version is not None and label is not None:
        raise ValueError("either a version or a label, not both")
    if model is None:
        if version is not None or label is not None:
            raise ValueError("a version or a label is one of a model; name it")
        return f"{API}/predict"
    path = f"{API}/models/{quote(model, safe='')}"
    if version is not None:
        path += f"/versions/{version}"
    if label is not None:
        path += f"/labels/{quote(label, safe='')}"
    return f"{path}/predict"


def _parameters(options: Options) -> Mapping[str, str]:
    """Write the options that go into the query."""
    chosen = {name: options.get(name) for name in ("top_k", "threshold", "explain")}
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in chosen.items()
        if value is not None and value is not False
    }
