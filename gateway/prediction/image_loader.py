"""Load the images of a request and prepare them as model inputs, several in parallel."""

import contextvars
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from gateway.capacity import MemoryBudget, Place
from gateway.deadline import Deadline, Timings
from gateway.errors import (
    DeadlineExceededError,
    GatewayError,
    ImageFormatError,
    ImageTooLargeError,
    ImageUnreadableError,
    OverloadedError,
)
from gateway.fetching.pool import FetchPool
from gateway.model_client.protocol import Array
from vision import heatmap
from vision.card import InputSpec
from vision.decode import ImageError, ImageFormat, TooManyPixelsError, UnsupportedFormatError, inspect
from vision.errors import OutOfMemoryError
from vision.headers.header import Header
from vision.isolation.errors import DecoderUnavailableError, DecodingTimeoutError
from vision.isolation.pool import DecoderPool
from vision.preprocess import preprocess, read, weigh

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
class ImageFile:
    """An image file of an accepted format and size."""

    content: bytes
    header: Header


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """An image that is ready for a model.

    Attributes:
        file: The file.
        pixels: The model's input, of `InputSpec.shape` and `InputSpec.dtype`.
    """

    file: ImageFile
    pixels: Array


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits on decoding.

    Attributes:
        max_pixels: Maximum size, width times height, of an image.
        inline_max_pixels: Maximum size of a plain image that is decoded in this process.
        deadline_s: Maximum time for decoding any other image.
    """

    max_pixels: int
    inline_max_pixels: int
    deadline_s: float


class ImageLoader:
    """Fetches, decodes and prepares images; an error of one image takes its place and does not affect the others.

    Args:
        fetch_pool: Fetches the images that are sent as a URL.
        decoders: Decode what is not decoded in this process.
        limits: Limits on what is decoded, and where.
        decode_threads: How many images of a batch are decoded in parallel; OpenCV releases the interpreter lock.
        memory_budget: What the images of all requests may take together.
    """

    def __init__(
        self,
        fetch_pool: FetchPool,
        *,
        decoders: DecoderPool,
        limits: DecodeLimits,
        decode_threads: int,
        memory_budget: MemoryBudget,
    ) -> None:
        self._fetch_pool = fetch_pool
        self._memory_budget = memory_budget
        self._decoders = decoders
        self._limits = limits
        self._decode_pool = ThreadPool(decode_threads, "decode")

    def load(
        self,
        sources: Sequence[ImageSource | GatewayError],
        *,
        deadline: Deadline,
        timings: Timings,
        place: Place | None = None,
    ) -> list[bytes | GatewayError]:
        """Return the file of each image, or the error that prevented it.

        Args:
            sources: The images; an error stays in its place.
            deadline: Time limit on the request.
            timings: Collects how long each fetch takes.
            place: Whose share of the threads that fetch, and of memory, they take; needed for images by URL.

        Raises:
            DeadlineExceededError: Not all were fetched in time.
        """
        urls = [source.url for source in sources if isinstance(source, ImageUrl)]
        fetched: Iterator[bytes | GatewayError] = iter(())
        if urls and place is not None:
            allowance = place.download(len(urls))
            fetched = iter(
                self._fetch_pool.fetch_all(
                    urls, client=place.client, deadline=deadline, allowance=allowance, timings=timings
                )
            )
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

        def prepare(_: int, file: ImageFile) -> PreparedImage:
            with timings.measure("decode"):
                image = read(file.content, spec, max_pixels=self._limits.max_pixels, header=file.header)
            with timings.measure("preprocess"):
                return PreparedImage(file, preprocess(image, spec))

        def prepare_apart(_: int, file: ImageFile, memory_bytes: int, deadline_s: float) -> PreparedImage:
            with timings.measure("decode"):
                pixels = self._decoders.load(file.content, spec, memory_bytes=memory_bytes, deadline_s=deadline_s)
            return PreparedImage(file, pixels)

        with timings.measure("decode"):
            files = [self._inspect(content) for content in contents]
        return self._map(prepare, prepare_apart, files, lambda header: weigh(header, spec), deadline)

    def draw_heatmaps(
        self,
        files: Sequence[ImageFile],
        heatmaps: Sequence[NDArray[np.float32]],
        spec: InputSpec,
        *,
        deadline: Deadline,
    ) -> list[bytes]:
        """Draw a heat map over each image, as PNG; see `vision.heatmap`.

        Raises:
            DeadlineExceededError: Not all were drawn in time.
            GatewayError: One could not be drawn.
        """

        def draw(index: int, file: ImageFile) -> bytes:
            heat, max_pixels = heatmaps[index], self._limits.max_pixels
            return heatmap.draw(file.content, heat, spec, max_pixels=max_pixels, header=file.header)

        def draw_apart(index: int, file: ImageFile, memory_bytes: int, deadline_s: float) -> bytes:
            return self._decoders.draw(
                file.content, heatmaps[index], spec, memory_bytes=memory_bytes, deadline_s=deadline_s
            )

        drawings: list[bytes] = []
        for drawing in self._map(draw, draw_apart, files, lambda header: heatmap.weigh(header, spec), deadline):
            if isinstance(drawing, GatewayError):
                raise drawing
            drawings.append(drawing)
        return drawings

    def _inspect(self, content: bytes | GatewayError) -> ImageFile | GatewayError:
        """Read the header of a file, or return the error that prevented it."""
        if isinstance(content, GatewayError):
            return content
        try:
            with translated_image_errors(self._limits.max_pixels):
                return ImageFile(content, inspect(content, max_pixels=self._limits.max_pixels))
        except GatewayError as error:
            return error

    def _map(
        self,
        inline: Callable[[int, ImageFile], R],
        apart: Callable[[int, ImageFile, int, float], R],
        files: Sequence[ImageFile | GatewayError],
        weigh: Callable[[Header], int],
        deadline: Deadline,
    ) -> list[R | GatewayError]:
        """Call one of two functions for each file, with its index, and return the results or errors in order.

        Plain files are processed in parallel by `inline`. All others are processed by the calling thread with `apart`,
        which takes a limit on memory and a deadline as well, so that a request never occupies more than one decoder
        process.
        """

        def process(item: tuple[int, ImageFile | GatewayError]) -> R | GatewayError:
            index, file = item
            if isinstance(file, GatewayError):
                return file
            try:
                deadline.remaining_s()
                memory_bytes = weigh(file.header)
                with (
                    self._memory_budget.reserve(memory_bytes, deadline=deadline),
                    translated_image_errors(self._limits.max_pixels),
                ):
                    if self._is_inline(file):
                        return inline(index, file)
                    return apart(index, file, memory_bytes, deadline.no_later_than(self._limits.deadline_s).at_s)
            except GatewayError as error:
                return error

        items = list(enumerate(files))
        inline_items = [(index, file) for index, file in items if self._is_inline(file)]
        inline_results = iter(self._decode_pool.map(process, inline_items, deadline=deadline))
        return [next(inline_results) if self._is_inline(file) else process((index, file)) for index, file in items]

    def _is_inline(self, file: ImageFile | GatewayError) -> bool:
        return (
            isinstance(file, ImageFile)
            and file.header.is_plain
            and file.header.width * file.header.height <= self._limits.inline_max_pixels
        )


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
    except DecodingTimeoutError as error:
        raise DeadlineExceededError(
            "The image takes too long to decode. Send a smaller image, or one in a plain format such as JPEG."
        ) from error
    except (DecoderUnavailableError, OutOfMemoryError) as error:
        raise OverloadedError("The image cannot be decoded at the moment. Try again shortly.") from error
    except ImageError as error:
        raise ImageUnreadableError(f"The image cannot be decoded: {error}.") from error
