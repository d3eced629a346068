"""How much one worker takes on: so many images in work, so many requests waiting, and no more.

What is refused is refused at once: no queue grows beyond what can be answered in time, and a thread is always left
for health checks.
"""

import threading
from collections import deque
from dataclasses import dataclass

from flask import Blueprint, g

from gateway.deadline import Deadline
from gateway.errors import OverloadedError


class Admission:
    """Lets requests in, in the order they came; safe to use from many threads.

    Args:
        places: Images in work at the same time. A batch is let in where one place is free, and then takes as many as it
            has images: until it ends nobody else is let in, but it never waits for a gap of its size.
        max_waiting: Most requests that wait for a place.
        max_wait_s: Longest time that one waits.
    """

    def __init__(self, *, places: int, max_waiting: int, max_wait_s: float) -> None:
        self._places = places
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._taken = 0
        self._waiting: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    def enter(self, *, deadline: Deadline) -> "Place":
        """Take a place; it has to be left again.

        Raises:
            OverloadedError: too many wait already, or none became free in time.
            DeadlineExceededError: the deadline has passed.
        """
        patience_s = deadline.remaining_s(self._max_wait_s)
        with self._lock:
            if self._taken < self._places:  # then nobody waits
                self._taken += 1
                return Place(self)
            if len(self._waiting) >= self._max_waiting:
                raise _refused()
            turn = threading.Event()
            self._waiting.append(turn)
        if not turn.wait(patience_s):
            with self._lock:
                if not turn.is_set():
                    self._waiting.remove(turn)
                    raise _refused()
        return Place(self)

    def move(self, places: int) -> None:
        """Take so many more places, or give back so many where the number is negative, and let in who may come now."""
        with self._lock:
            self._taken += places
            while self._waiting and self._taken < self._places:
                self._taken += 1
                self._waiting.popleft().set()


@dataclass(slots=True)
class Place:
    """What a request that was let in holds until it is answered."""

    admission: Admission
    images: int = 1

    def hold(self, images: int) -> None:
        """Count the request for so many images, at least one, from now on."""
        self.admission.move(images - self.images)
        self.images = images

    def leave(self) -> None:
        """Let others in."""
        self.admission.move(-self.images)


def register(api: Blueprint, admission: Admission) -> None:
    """Have every request of these routes let in first; `g.place` is its place."""

    def enter() -> None:
        g.place = admission.enter(deadline=g.deadline)

    def leave(_: BaseException | None) -> None:
        if "place" in g:
            g.place.leave()

    api.before_request(enter)
    api.teardown_request(leave)


def _refused() -> OverloadedError:
    return OverloadedError("More requests came than can be answered in time. Try again shortly.")
