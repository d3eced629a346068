"""Where images come from, and how they become model inputs: fetched, decoded and prepared, several side by side."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.deadline import Deadline
from gateway.errors import GatewayError, ImageFormatError, ImageTooLargeError, ImageUnreadableError
from gateway.fetching.fetcher import Fetcher
from gateway.model_client.protocol import Array
from gateway.observability.timing import Timings
from gateway.prediction.thread_pool import Workers
from vision import heatmap
from vision.card import InputSpec
from vision.decode import ImageError, ImageFormat, TooManyPixelsError, UnsupportedFormatError
from vision.preprocess import preprocess, read


@dataclass(frozen=True, slots=True)
class Upload:
    """An image whose bytes came with the request."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """An image to be fetched."""

    url: str


ImageSource: TypeAlias = Upload | Link


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that is ready for a model.

    Attributes:
        content: The whole file.
        image: The model's input, of `InputSpec.shape` and `InputSpec.dtype`.
    """

    content: bytes
    image: Array


class Pictures:
    """Makes model inputs of images; what is wrong with one of several is told in its place and stops no other.

    Args:
        fetcher: Gets pictures given by URL.
        max_pixels: Largest image, width times height, that is decoded.
        fetch_threads: How many of a batch are fetched at the same time.
        decode_threads: How many of a batch are decoded at the same time; OpenCV lets other threads run meanwhile.
    """

    def __init__(self, fetcher: Fetcher, *, max_pixels: int, fetch_threads: int, decode_threads: int) -> None:
        self._fetcher = fetcher
        self._max_pixels = max_pixels
        self._fetching = Workers(fetch_threads, "fetch")
        self._decoding = Workers(decode_threads, "decode")

    def contents(
        self, sources: Sequence[ImageSource | GatewayError], *, deadline: Deadline, timings: Timings
    ) -> list[bytes | GatewayError]:
        """Give the bytes of each image, or why there are none.

        Raises:
            DeadlineExceededError: not all were there in time.
        """

        def fetched(link: Link) -> bytes | GatewayError:
            try:
                with timings.measured("fetch"):
                    return self._fetcher.fetch(link.url, deadline=deadline)
            except GatewayError as error:
                return error

        links = [source for source in sources if isinstance(source, Link)]
        found = iter(self._fetching.each(fetched, links, deadline=deadline))
        return [
            next(found) if isinstance(source, Link) else source.data if isinstance(source, Upload) else source
            for source in sources
        ]

    def prepared(
        self, contents: Sequence[bytes | GatewayError], spec: InputSpec, *, deadline: Deadline, timings: Timings
    ) -> list[Picture | GatewayError]:
        """Make a model input of each image, or tell why it cannot be.

        Raises:
            DeadlineExceededError: not all were ready in time.
        """

        def prepare(content: bytes | GatewayError) -> Picture | GatewayError:
            if isinstance(content, GatewayError):
                return content
            try:
                deadline.remaining_s()
                with translated_image_errors(self._max_pixels):
                    with timings.measured("decode"):
                        picture = read(content, spec, max_pixels=self._max_pixels)
                    with timings.measured("preprocess"):
                        return Picture(content, preprocess(picture, spec))
            except GatewayError as error:
                return error

        return self._decoding.each(prepare, contents, deadline=deadline)

    def drawn(
        self,
        contents: Sequence[bytes],
        heats: Sequence[NDArray[np.float32]],
        spec: InputSpec,
        *,
        deadline: Deadline,
    ) -> list[bytes]:
        """Draw a heat map over each image, as PNG; see `vision.heatmap`.

        Raises:
            DeadlineExceededError: not all were drawn in time.
        """

        def drawing(pair: tuple[bytes, NDArray[np.float32]]) -> bytes:
            deadline.remaining_s()
            content, heat = pair
            return heatmap.draw(content, heat, spec, max_pixels=self._max_pixels)

        return self._decoding.each(drawing, list(zip(contents, heats, strict=True)), deadline=deadline)


@contextmanager
def translated_image_errors(max_pixels: int) -> Iterator[None]:
    """Turn `vision`'s refusals into the `GatewayError` that stands for them."""
    accepted = [image_format.value for image_format in ImageFormat]
    try:
        yield
    except UnsupportedFormatError as error:
        raise ImageFormatError(
            f"The bytes are not an image in an accepted format. Accepted are: {', '.join(accepted)}.",
            accepted=accepted,
        ) from error
    except TooManyPixelsError as error:
        raise ImageTooLargeError(
            f"The image has {error.width} x {error.height} pixels; at most {max_pixels} in all are accepted. "
            "Send it smaller.",
            max_pixels=max_pixels,
        ) from error
    except ImageError as error:
        raise ImageUnreadableError(f"The image cannot be decoded: {error}.") from error
