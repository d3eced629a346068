"""Load the images of a request and prepare them as model inputs, several in parallel."""

import contextvars
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

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
from gateway.prediction.decoders import Decoders
from gateway.prediction.format_messages import describe_format
from gateway.sizes import exceeds_pixels
from vision import heatmap
from vision.card import InputSpec
from vision.decode import ImageError, TooManyPixelsError, UnsupportedFormatError, accepted_formats, inspect
from vision.errors import OutOfMemoryError
from vision.headers.header import Header
from vision.isolation.errors import DecoderUnavailableError, DecodingTimeoutError
from vision.preprocess import preprocess, read, weigh

T = TypeVar("T")
R = TypeVar("R")
Result_co = TypeVar("Result_co", covariant=True)
Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """An image file that came with the request.

    Attributes:
        data: The file.
        field: Where in the request it stands, for problems: a JSON pointer, the name of a part, or nothing.
    """

    data: bytes
    field: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """An image to be fetched.

    Attributes:
        url: Where it is.
        field: See `ImageBytes`.
    """

    url: str
    field: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class ImagePixels:
    """An image that came as one row of the model's input: it is neither decoded nor prepared.

    Attributes:
        pixels: The row; its element type and shape are those of `ServedModel.row`, or it is refused.
        field: See `ImageBytes`.
    """

    pixels: Array
    field: str = ""


ImageSource: TypeAlias = ImageBytes | ImageUrl | ImagePixels
ImageContent: TypeAlias = bytes | ImagePixels
"""An image that has been loaded: a file, or what needs no loading."""


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
class PixelLimits:
    """Limits on the size, width times height, of images.

    Attributes:
        max_pixels: Largest image that is accepted.
        inline_max_pixels: Largest plain image that is decoded in this process.
    """

    max_pixels: int
    inline_max_pixels: int


class ImageLoader:
    """Fetches, decodes and prepares images; an error of one image takes its place and does not affect the others.

    Args:
        fetch_pool: Fetches the images that are sent as a URL.
        decoders: Decode what is not decoded in this process.
        limits: Limits on the size of images.
        decode_threads: How many images of a batch are decoded in parallel; OpenCV releases the interpreter lock.
        memory: What the images of all requests may take together.
    """

    def __init__(
        self,
        fetch_pool: FetchPool,
        *,
        decoders: Decoders,
        limits: PixelLimits,
        decode_threads: int,
        memory: MemoryBudget,
    ) -> None:
        self._fetch_pool = fetch_pool
        self._memory = memory
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
    ) -> list[ImageContent | GatewayError]:
        """Return the content of each image, or the error that prevented it.

        Args:
            sources: The images; an error stays in its place.
            deadline: Time limit on the request.
            timings: Collects how long each fetch takes.
            place: Whose share of the threads that fetch, and of memory, they take; needed for images by URL.

        Raises:
            DeadlineExceededError: Not all were fetched in time.
        """
        urls = [source.url for source in sources if isinstance(source, ImageUrl)]
        fetched: Iterator[ImageContent | GatewayError] = iter(())
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
        self,
        contents: Sequence[ImageContent | GatewayError],
        spec: InputSpec,
        *,
        deadline: Deadline,
        timings: Timings,
        place: Place | None = None,
    ) -> list[PreparedImage | ImagePixels | GatewayError]:
        """Decode each file and turn it into a model input, or return the error that prevented it.

        Args:
            contents: The files; pixels and errors stay in their place.
            spec: Input of the model.
            deadline: Time limit on the request.
            timings: Collects how long each stage takes.
            place: Where plain images, which are decoded by this process, need slots.

        Raises:
            DeadlineExceededError: Not all were ready in time.
            TooManyImagesError: They would take more memory than there is.
            OverloadedError: There is no memory for them, or there were no slots in time.
        """
        pool = self._decoders.pool

        def prepare(_: int, file: ImageFile) -> PreparedImage:
            with timings.measure("decode"):
                image = read(file.content, spec, max_pixels=self._limits.max_pixels, header=file.header)
            with timings.measure("preprocess"):
                return PreparedImage(file, preprocess(image, spec))

        def prepare_apart(_: int, file: ImageFile, memory_bytes: int, deadline_s: float) -> PreparedImage:
            with timings.measure("decode"):
                pixels = pool.load(file.content, spec, memory_bytes=memory_bytes, deadline_s=deadline_s)
            return PreparedImage(file, pixels)

        if place is not None and len(contents) > 1:  # the slots bound those of single images
            place.hold_inputs(len(contents), math.prod(spec.shape) * np.dtype(spec.dtype).itemsize)
        with timings.measure("decode"):
            files = [self._inspect(content) for content in contents]
        work = _Work(prepare, prepare_apart, lambda header: weigh(header, spec))
        return self._map(work, files, deadline, place)

    def draw_heatmaps(
        self,
        files: Sequence[ImageFile],
        heatmaps: Sequence[NDArray[np.float32]],
        spec: InputSpec,
        *,
        deadline: Deadline,
        place: Place | None = None,
    ) -> list[bytes]:
        """Draw a heat map over each image, as PNG; see `vision.heatmap`.

        Raises:
            DeadlineExceededError: Not all were drawn in time.
            GatewayError: One could not be drawn.
        """
        pool = self._decoders.pool

        def draw(index: int, file: ImageFile) -> bytes:
            heat, max_pixels = heatmaps[index], self._limits.max_pixels
            return heatmap.draw(file.content, heat, spec, max_pixels=max_pixels, header=file.header)

        def draw_apart(index: int, file: ImageFile, memory_bytes: int, deadline_s: float) -> bytes:
            heat = heatmaps[index]
            return pool.draw(file.content, heat, spec, memory_bytes=memory_bytes, deadline_s=deadline_s)

        drawings: list[bytes] = []
        work = _Work(draw, draw_apart, lambda header: heatmap.weigh(header, spec))
        for drawing in self._map(work, files, deadline, place):
            if isinstance(drawing, GatewayError):
                raise drawing
            drawings.append(drawing)
        return drawings

    def _inspect(self, content: ImageContent | GatewayError) -> ImageFile | ImagePixels | GatewayError:
        """Read the header of a file, or return the error that prevented it."""
        if not isinstance(content, bytes):
            return content
        try:
            with translated_image_errors(self._limits.max_pixels, content):
                return ImageFile(content, inspect(content, max_pixels=self._limits.max_pixels))
        except GatewayError as error:
            return error

    def _map(
        self,
        work: "_Work[R]",
        files: Sequence[ImageFile | Kept],
        deadline: Deadline,
        place: Place | None,
    ) -> list[R | Kept | GatewayError]:
        """Do work on each file, and return the results or errors in order; what is not a file stays in its place.

        Images that are not plain come first, one after the other: a request never occupies more than one decoder
        process, and while it does, it occupies no slot that a plain image could use. Plain ones are processed in
        parallel.
        """
        client = place.client if place else ""

        # Without the quotes, the union would be made for every request, which takes 2 microseconds.
        def process(job: _Job) -> "R | GatewayError":
            memory_bytes = job.memory_bytes
            try:
                deadline.remaining_s()
                with translated_image_errors(self._limits.max_pixels):
                    if job.is_inline:
                        with self._memory.work.reserve(memory_bytes, deadline=deadline, client=client):
                            return work.inline(job.index, job.file)
                    # Memory last: it would be kept from others while this image waits for its turn.
                    with (
                        self._decoders.turn(client, deadline) as deadline_s,
                        self._memory.decoders.reserve(memory_bytes, deadline=deadline, client=client),
                    ):
                        return work.apart(job.index, job.file, memory_bytes, deadline_s)
            except GatewayError as error:
                return error

        jobs = [self._job(index, file, work) for index, file in enumerate(files) if isinstance(file, ImageFile)]
        inline, apart = [job for job in jobs if job.is_inline], [job for job in jobs if not job.is_inline]
        results: dict[int, R | GatewayError] = {}
        if apart:
            if place is not None:
                place.free_slots()
            results = {job.index: process(job) for job in apart}
        if inline and place is not None:
            place.start(len(files))
        inline_results = self._decode_pool.map(process, inline, deadline=deadline)
        results |= {job.index: result for job, result in zip(inline, inline_results, strict=True)}
        return [results[index] if isinstance(file, ImageFile) else file for index, file in enumerate(files)]

    def _job(self, index: int, file: ImageFile, work: "_Work[R]") -> "_Job":
        header, memory_bytes = file.header, work.weigh(file.header)
        is_small = (
            header.width * header.height <= self._limits.inline_max_pixels and memory_bytes <= self._memory.work.size
        )
        return _Job(index, file, memory_bytes, header.is_plain and is_small)


@dataclass(frozen=True, slots=True)
class _Work(Generic[Result_co]):
    """What is done with image files.

    Attributes:
        inline: Does it in this process, with the index of the image.
        apart: Does it in a decoder process, which may take so many bytes of memory and must be done at so many seconds
            of `time.monotonic`.
        weigh: Returns how many bytes of memory it takes.
    """

    inline: Callable[[int, ImageFile], Result_co]
    apart: Callable[[int, ImageFile, int, float], Result_co]
    weigh: Callable[[Header], int]


@dataclass(frozen=True, slots=True)
class _Job:
    """One image file, its index, how much memory the work on it takes, and whether it is done in this process."""

    index: int
    file: ImageFile
    memory_bytes: int
    is_inline: bool


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
def translated_image_errors(max_pixels: int, content: bytes = b"") -> Iterator[None]:
    """Raise the `GatewayError` that corresponds to an error of `vision`.

    Args:
        max_pixels: Largest image that is accepted, for messages.
        content: The file, for a message that names what it is.
    """
    try:
        yield
    except UnsupportedFormatError as error:
        accepted = [image_format.value for image_format in accepted_formats()]
        detail = describe_format(content, accepted) if error.kind is None else str(error)
        raise ImageFormatError(detail, accepted=accepted) from error
    except TooManyPixelsError as error:
        raise ImageTooLargeError(
            f"{exceeds_pixels(error.width, error.height, max_pixels)} Scale it down.",
            max_pixels=max_pixels,
        ) from error
    except DecodingTimeoutError as error:
        raise DeadlineExceededError(
            "The image takes too long to decode. Send a smaller image, or one in a plain format such as JPEG."
        ) from error
    except (DecoderUnavailableError, OutOfMemoryError) as error:
        raise OverloadedError("The image cannot be decoded at the moment. Try again shortly.") from error
    except ImageError as error:
        reason = str(error)
        raise ImageUnreadableError(
            f"{reason[:1].upper()}{reason[1:]}. Check that the file opens in a viewer, or convert it to JPEG or PNG."
        ) from error
