"""Join the images of concurrent requests into one call of the network."""

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TypeAlias

import numpy as np

from bench.alternatives.engine import PROCESSORS, Images, Predict, Scores

_Item: TypeAlias = tuple[Images, Future[Scores]]


class Batcher:
    """Runs a network in one thread per processor, each of which takes all images that are waiting.

    An image never waits for others to come: a batch has more than one image only if they arrived while all threads were
    computing.

    Args:
        predict: Runs the network.
        max_batch: Largest number of images in a call.
    """

    def __init__(self, predict: Predict, max_batch: int) -> None:
        self._predict = predict
        self._max_batch = max_batch
        self._waiting: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        for _ in range(PROCESSORS):
            threading.Thread(target=self._run, daemon=True).start()

    def __call__(self, image: Images) -> Scores:
        """Return float32[1, K] for uint8[1, H, W, C]."""
        scores: Future[Scores] = Future()
        self._waiting.put((image, scores))
        return scores.result()

    @property
    def waiting(self) -> int:
        """Number of images that no thread has taken yet."""
        return self._waiting.qsize()

    def _run(self) -> None:
        while True:
            batch = [self._waiting.get(), *self._take(self._max_batch - 1)]
            try:
                rows = self._predict(np.concatenate([image for image, _ in batch]))
            except Exception as error:  # noqa: BLE001  # raised again in the threads of the requests
                for _, scores in batch:
                    scores.set_exception(error)
            else:
                for (_, scores), row in zip(batch, rows, strict=True):
                    scores.set_result(row[np.newaxis])

    def _take(self, number: int) -> Iterator[_Item]:
        """Yield up to `number` items without waiting for any."""
        for _ in range(number):
            try:
                yield self._waiting.get_nowait()
            except queue.Empty:
                return
