"""Classify many images: in batches, several at once, with the outcomes in the order of the images."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from typing import TypeAlias, TypeVar

from image_gateway_client.answers import Outcome
from image_gateway_client.errors import Problem, ProblemError
from image_gateway_client.images import Image, Source, load, local_problem, size_bytes
from image_gateway_client.steps import Plan, Work

Predict: TypeAlias = Callable[[Sequence[Source]], Plan[list[Outcome]]]
T = TypeVar("T")

IMAGE_STATUSES = frozenset({413, 500, 502, 504})
"""Statuses that the size of a request, or the work for one image, may cause, so that other images may succeed."""
IMAGE_PROBLEMS = frozenset(
    f"/problems/{name}" for name in ("fetch-failed", "fetch-refused", "unreadable-image", "unsupported-image-format")
)
"""Problems of an image, whose statuses are also those of faults that are the same for every image."""
MODEL_UNUSABLE = "/problems/model-unusable"


def concerns_images(problem: Problem) -> bool:
    """Return whether the images may be why a request failed, and not its options, the model or the caller."""
    if problem.status in IMAGE_STATUSES:
        return problem.type != MODEL_UNUSABLE
    return problem.type in IMAGE_PROBLEMS


def may_be_too_many(problem: Problem) -> bool:
    """Return whether a request may have failed by the number of its images: a form with too many parts is malformed.

    A fault of an option has the same status, but names its field.
    """
    return problem.status == HTTPStatus.BAD_REQUEST and "field" not in problem.members


def split_into_batches(images: Iterable[Image], max_images: int, max_bytes: int) -> Iterator[list[Image]]:
    """Group images that fit into one request. An image larger than `max_bytes` is a batch of its own."""
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


def classify_batch(images: Iterable[Image], predict: Predict, *, max_bytes: int) -> Plan[list[Outcome]]:
    """Load and classify a batch. An image that cannot be read or classified has its own problem as its outcome.

    Args:
        images: The batch.
        predict: Plans one request.
        max_bytes: Maximum size of a file.

    Raises:
        ImageGatewayError: The gateway cannot classify these images, nor any others, now.
    """
    loaded: list[Source | Problem] = yield Work(partial(_load_all, images, max_bytes))
    sources = [item for item in loaded if not isinstance(item, Problem)]
    responses = iter((yield from _predict_or_split(sources, predict)) if sources else [])
    return [item if isinstance(item, Problem) else next(responses) for item in loaded]


def _load_all(images: Iterable[Image], max_bytes: int) -> list[Source | Problem]:
    loaded: list[Source | Problem] = []
    for image in images:
        try:
            loaded.append(load(image, max_bytes=max_bytes))
        except (OSError, TypeError, ValueError) as error:
            loaded.append(local_problem(error))
    return loaded


def _predict_or_split(sources: Sequence[Source], predict: Predict) -> Plan[list[Outcome]]:
    """Send a batch. If its images may be why it fails, send its halves, down to the image that causes the problem."""
    try:
        return (yield from predict(sources))
    except ProblemError as error:
        is_divisible = concerns_images(error.problem) or may_be_too_many(error.problem)
        if len(sources) == 1 or not is_divisible:
            raise
    middle = len(sources) // 2
    first = yield from _predict_or_split(sources[:middle], predict)
    return [*first, *(yield from _predict_or_split(sources[middle:], predict))]


def classify_in_order(
    batches: Iterable[T], classify: Callable[[T], Iterable[Outcome]], connections: int
) -> Iterator[Outcome]:
    """Classify several batches at once and yield the outcomes in the order of the images.

    Only as many batches are taken as can soon be sent, so that `batches` may be endless. If a batch fails, or the
    caller stops, batches that have not been sent are dropped.
    """
    with ThreadPoolExecutor(connections, thread_name_prefix="classify") as pool:
        pending: deque[Future[Iterable[Outcome]]] = deque()
        try:
            for batch in batches:
                pending.append(pool.submit(classify, batch))
                if len(pending) >= 2 * connections:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


async def classify_in_order_async(
    batches: Iterable[T], classify: Callable[[T], Awaitable[Iterable[Outcome]]], connections: int
) -> AsyncIterator[Outcome]:
    """Do what `classify_in_order` does, with tasks of the running event loop."""
    slots = asyncio.Semaphore(connections)

    async def classify_in_slot(batch: T) -> Iterable[Outcome]:
        async with slots:
            return await classify(batch)

    pending: deque[asyncio.Task[Iterable[Outcome]]] = deque()
    try:
        for batch in batches:
            pending.append(asyncio.create_task(classify_in_slot(batch)))
            if len(pending) >= 2 * connections:
                for outcome in await pending[0]:
                    yield outcome
                pending.popleft()
        while pending:
            for outcome in await pending[0]:
                yield outcome
            pending.popleft()
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
