"""Load the images of a request and prepare them as model inputs, several in parallel."""

import contextvars
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from gateway.deadline import Deadline, Timings
from gateway.errors import GatewayError, ImageFormatError, ImageTooLargeError, ImageUnreadableError
from gateway.fetching.pool import FetchPool
from gateway.memory_budget import MemoryBudget
from gateway.model_client.protocol import Array
from vision import heatmap
from vision.card import InputSpec
from vision.decode import ImageError, ImageFormat, TooManyPixelsError, UnsupportedFormatError
from vision.preprocess import preprocess, read

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An image file that came with the request."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """An image to be fetched."""

    url: str


ImageSource: TypeAlias = ImageBytes | ImageUrl


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image that is ready for a model.

    Attributes:
        content: The whole file.
        pixels: The model's input, of `InputSpec.shape` and `InputSpec.dtype`.
    """

    content: bytes
    pixels: Array


class ImageLoader:
    """Fetches, decodes and prepares images; an error of one image takes its place and does not affect the others.

    Args:
        fetch_pool: Fetches the images that are sent as a URL.
        max_pixels: Maximum size, width times height, of an image that is decoded.
        decode_threads: How many images of a batch are decoded in parallel; OpenCV releases the interpreter lock.
        memory_budget: What the images of all requests may take together.
    """

    def __init__(
        self,
        fetch_pool: FetchPool,
        *,
        max_pixels: int,
        decode_threads: int,
        memory_budget: MemoryBudget,
    ) -> None:
        self._fetch_pool = fetch_pool
        self._memory_budget = memory_budget
        self._max_pixels = max_pixels
        self._decode_pool = ThreadPool(decode_threads, "decode")

    def load(
        self, sources: Sequence[ImageSource | GatewayError], *, client: str, deadline: Deadline, timings: Timings
    ) -> list[bytes | GatewayError]:
        """Return the file of each image, or the error that prevented it.

        Args:
            sources: The images; an error stays in its place.
            client: Who sent them, for its share of the threads that fetch.
            deadline: Time limit on the request.
            timings: Collects how long each fetch takes.

        Raises:
            DeadlineExceededError: Not all were fetched in time.
        """
        urls = [source.url for source in sources if isinstance(source, ImageUrl)]
        fetched: Iterator[bytes | GatewayError] = iter(())
        if urls:
            fetched = iter(self._fetch_pool.fetch_all(urls, client=client, deadline=deadline, timings=timings))
        return [
            source.data if isinstance(source, ImageBytes) else next(fetched) if isinstance(source, ImageUrl) else source
            for source in sources
        ]

    def prepare(
        self, contents: Sequence[bytes | GatewayError], spec: InputSpec, *, deadline: Deadline, timings: Timings
    ) -> list[PreparedImage | GatewayError]:
        """Decode each file and turn it into a model input, or return the error that prevented it.

        Raises:
            DeadlineExceededError: Not all were ready in time.
        """

        def prepare(content: bytes | GatewayError) -> PreparedImage | GatewayError:
            if isinstance(content, GatewayError):
                return content
            try:
                deadline.remaining_s()
                with translated_image_errors(self._max_pixels):
                    with timings.measure("decode"):
                        image = read(content, spec, max_pixels=self._max_pixels)
                    with timings.measure("preprocess"):
                        return PreparedImage(content, preprocess(image, spec))
            except GatewayError as error:
                return error

        return self._decode_pool.map(prepare, contents, deadline=deadline)

    def draw_heatmaps(
        self,
        contents: Sequence[bytes],
        heatmaps: Sequence[NDArray[np.float32]],
        spec: InputSpec,
        *,
        deadline: Deadline,
    ) -> list[bytes]:
        """Draw a heat map over each image, as PNG; see `vision.heatmap`.

        Raises:
            DeadlineExceededError: Not all were drawn in time.
        """

        def draw(pair: tuple[bytes, NDArray[np.float32]]) -> bytes:
            deadline.remaining_s()
            content, heat = pair
            return heatmap.draw(content, heat, spec, max_pixels=self._max_pixels)

        return self._decode_pool.map(draw, list(zip(contents, heatmaps, strict=True)), deadline=deadline)


class ThreadPool:
    """A bounded number of threads, shared by all requests of the process and started when first needed.

    Args:
        threads: How many.
        name: Prefix of the threads' names.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def map(self, function: Callable[[T], R], items: Sequence[T], *, deadline: Deadline) -> list[R]:
        """Call the function for every item and return the results in the order of the items.

        A single item is processed by the calling thread, since a change of threads costs more than it gains.

        Raises:
            DeadlineExceededError: Not all calls ended in time; those that had not begun are cancelled.
            Exception: The first one that the function raised.
        """
        if len(items) <= 1:
            return [function(item) for item in items]
        timeout_s = deadline.remaining_s()
        # Each call runs in a copy of the caller's context, so that its log lines and spans belong to the request.
        futures = [self._executor.submit(contextvars.copy_context().run, function, item) for item in items]
        done, pending = wait(futures, timeout=timeout_s, return_when=FIRST_EXCEPTION)
        for future in pending:
            future.cancel()
        for future in done:
            future.result()  # raises what the function raised
        if pending:
            raise deadline.exceeded()
        return [future.result() for future in futures]


@contextmanager
def translated_image_errors(max_pixels: int) -> Iterator[None]:
    """Raise the `GatewayError` that corresponds to an error of `vision`."""
    accepted = [image_format.value for image_format in ImageFormat]
    try:
        yield
    except UnsupportedFormatError as error:
        raise ImageFormatError(
            f"The bytes are not an image in an accepted format. Accepted formats: {', '.join(accepted)}.",
            accepted=accepted,
        ) from error
    except TooManyPixelsError as error:
        raise ImageTooLargeError(
            f"The image has {error.width} x {error.height} pixels; at most {max_pixels} in all are accepted. "
            "Send a smaller image.",
            max_pixels=max_pixels,
        ) from error
    except ImageError as error:
        raise ImageUnreadableError(f"The image cannot be decoded: {error}.") from error
