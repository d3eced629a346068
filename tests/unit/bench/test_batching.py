"""The alternatives' batching joins what waits while the network computes."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bench.alternatives.batching import Batcher
from bench.alternatives.engine import PROCESSORS, Images, Scores
from tools.waiting import wait_until

TIMEOUT_S = 30


def image(value: int) -> Images:
    """Return uint8[1, 1, 1, 1]."""
    return np.full((1, 1, 1, 1), value, np.uint8)


def test_waiting_images_are_joined_and_each_gets_its_own_scores():
    batches: list[int] = []
    computing, may_answer = threading.Semaphore(0), threading.Event()

    def predict(images: Images) -> Scores:
        batches.append(len(images))
        computing.release()
        may_answer.wait(TIMEOUT_S)
        return images.reshape(-1, 1).astype(np.float32)

    batcher = Batcher(predict, max_batch=4)
    with ThreadPoolExecutor(PROCESSORS + 6) as threads:
        first = []
        for number in range(PROCESSORS):  # each is taken by a thread of its own
            first.append(threads.submit(batcher, image(number)))
            assert computing.acquire(timeout=TIMEOUT_S)
        waiting = [threads.submit(batcher, image(100 + number)) for number in range(6)]
        wait_until(lambda: batcher.waiting == 6, TIMEOUT_S, "six images wait")
        may_answer.set()

        assert [future.result().tolist() for future in first] == [[[number]] for number in range(PROCESSORS)]
        assert [future.result().tolist() for future in waiting] == [[[100 + number]] for number in range(6)]
    assert max(batches) == 4
    assert sum(batches) == PROCESSORS + 6


def test_an_error_reaches_its_requests_and_the_next_ones_are_answered():
    def predict(images: Images) -> Scores:
        if images[0, 0, 0, 0] == 0:
            raise ValueError("zero")
        return images.reshape(-1, 1).astype(np.float32)

    batcher = Batcher(predict, max_batch=1)

    with pytest.raises(ValueError, match="zero"):
        batcher(image(0))
    assert [batcher(image(7)).item() for _ in range(PROCESSORS + 1)] == [7.0] * (PROCESSORS + 1)
