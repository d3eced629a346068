"""Admission: how many images a worker processes at once, and how many requests may wait.

Any further request is refused at once, so that the queue stays short enough to be answered in time, and a thread is
always free for health checks.
"""

import threading
from collections import deque
from dataclasses import dataclass

from flask import Blueprint, g

from gateway.deadline import Deadline
from gateway.errors import OverloadedError


class Admission:
    """Admits requests in the order in which they arrive; safe to use from many threads.

    Args:
        slots: Maximum number of images processed at once. A batch is admitted as soon as one slot is free and then
            occupies a slot for each of its images. It never waits for that many free slots, but no other request is
            admitted until enough of them are free again.
        max_waiting: Maximum number of requests that wait for a slot.
        max_wait_s: Maximum time that a request waits.
    """

    def __init__(self, *, slots: int, max_waiting: int, max_wait_s: float) -> None:
        self._slots = slots
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._occupied = 0
        self._waiting: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def acquire(self, *, deadline: Deadline) -> "Slot":
        """Wait for a slot and occupy it until `Slot.release`.

        Raises:
            OverloadedError: Too many requests wait already, or no slot became free in time.
            DeadlineExceededError: The deadline has passed.
        """
        timeout_s = deadline.remaining_s(self._max_wait_s)
        with self._lock:
            if self._occupied < self._slots:  # in that case no request is waiting
                self._occupied += 1
                return Slot(self)
            if len(self._waiting) >= self._max_waiting:
                raise _overloaded()
            admitted = threading.Event()
            self._waiting.append(admitted)
        if not admitted.wait(timeout_s):
            with self._lock:
                if not admitted.is_set():
                    self._waiting.remove(admitted)
                    raise _overloaded()
        return Slot(self)

    def change_occupancy(self, slots: int) -> None:
        """Occupy more slots, or free some if the number is negative, and admit the requests for which there is room."""
        with self._lock:
            self._occupied += slots
            while self._waiting and self._occupied < self._slots:
                self._occupied += 1
                self._waiting.popleft().set()


@dataclass(slots=True)
class Slot:
    """The share of the worker that an admitted request occupies until it is answered."""

    admission: Admission
    images: int = 1

    def resize(self, images: int) -> None:
        """Occupy one slot for each image, at least one, from now on."""
        self.admission.change_occupancy(images - self.images)
        self.images = images

    def release(self) -> None:
        """Free the slot."""
        self.admission.change_occupancy(-self.images)


def register(api: Blueprint, admission: Admission) -> None:
    """Admit every request of these routes before it is handled; its slot is `g.slot`."""

    def acquire() -> None:
        g.slot = admission.acquire(deadline=g.deadline)

    def release(_: BaseException | None) -> None:
        if "slot" in g:
            g.slot.release()

    api.before_request(acquire)
    api.teardown_request(release)


def _overloaded() -> OverloadedError:
    return OverloadedError("More requests arrived than can be answered in time. Try again shortly.")
