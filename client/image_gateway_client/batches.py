"""Many images to their answers: in batches, several under way at once, in order, each image for itself."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

from image_gateway_client.answers import Answer
from image_gateway_client.errors import Problem, ProblemError
from image_gateway_client.images import Image, Source, load, local_problem, size_bytes

Outcome: TypeAlias = Answer | Problem
Ask: TypeAlias = Callable[[Sequence[Source]], list[Outcome]]
T = TypeVar("T")

ABOUT_THE_IMAGES = frozenset({400, 413, 415, 422, 500, 502, 504})
"""Statuses that other images of a refused batch need not share: one too large, or too much together."""


def in_batches(images: Iterable[Image], max_images: int, max_bytes: int) -> Iterator[list[Image]]:
    """Put together what fits into one request. An image longer than `max_bytes` goes alone."""
    batch: list[Image] = []
    total = 0
    for image in images:
        size = size_bytes(image)
        if batch and (len(batch) == max_images or total + size > max_bytes):
            yield batch
            batch, total = [], 0
        batch.append(image)
        total += size
    if batch:
        yield batch


def answered(images: Iterable[Image], ask: Ask, *, max_bytes: int) -> list[Outcome]:
    """Ask about a batch, and give every image that cannot be read or answered its own problem.

    Args:
        images: The batch.
        ask: Sends one request.
        max_bytes: Longest file that is read.

    Raises:
        ImageGatewayError: Why none of them, nor any other, can be answered now.
    """
    outcomes: list[Outcome | None] = []
    sources: list[Source] = []
    for image in images:
        try:
            sources.append(load(image, max_bytes=max_bytes))
        except (OSError, TypeError, ValueError) as error:
            outcomes.append(local_problem(error))
        else:
            outcomes.append(None)
    asked = iter(_halved(sources, ask) if sources else [])
    return [next(asked) if outcome is None else outcome for outcome in outcomes]


def _halved(sources: Sequence[Source], ask: Ask) -> list[Outcome]:
    """Ask about a batch; where it is refused as a whole, about its halves, down to the image that is to blame."""
    try:
        return ask(sources)
    except ProblemError as error:
        if error.problem.status not in ABOUT_THE_IMAGES or len(sources) == 1:
            raise
    middle = len(sources) // 2
    return [*_halved(sources[:middle], ask), *_halved(sources[middle:], ask)]


def in_order(batches: Iterable[T], ask: Callable[[T], Iterable[Outcome]], connections: int) -> Iterator[Outcome]:
    """Ask about several batches at once; the outcomes come in the order of the images.

    No more batches are taken than can soon be sent, so that `batches` may be endless. When asking fails, or the
    caller stops, those not sent yet are dropped.
    """
    with ThreadPoolExecutor(connections, thread_name_prefix="classify") as pool:
        waiting: deque[Future[Iterable[Outcome]]] = deque()
        try:
            for batch in batches:
                waiting.append(pool.submit(ask, batch))
                if len(waiting) >= 2 * connections:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
