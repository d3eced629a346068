"""The memory that the requests of a worker may take together, reserved before it is taken.

It is divided into three shares, which a request reserves from in this order: `bodies`, `downloads`, `work`. A request
waits only for a share of which it holds nothing, and never for one that comes before a share that it holds. So no two
requests wait for each other, and what holds a part of the last share always ends and gives it back.
"""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, ImageTooLargeError, OverloadedError

MIN_BYTES = 128 * 1024**2
MAX_BYTES = 1024**3
BODIES_FRACTION = 3 / 8
DOWNLOADS_FRACTION = 1 / 8
BODY_FACTOR = 3
"""Bytes of memory that reading and parsing a body takes at its peak, for each byte of it."""
MEGABYTE = 1_000_000


@dataclass(slots=True, eq=False)
class _Waiting:
    size: int
    admitted: threading.Event


class Share:
    """A part of the budget; safe to use from many threads.

    Reservations are granted in the order in which they are asked for, so that small ones never starve a large one.

    Args:
        max_bytes: Its size.
        max_wait_s: Maximum time that a reservation waits for others to be released.
    """

    def __init__(self, max_bytes: int, *, max_wait_s: float) -> None:
        self.max_bytes = max_bytes
        self._max_wait_s = max_wait_s
        self._reserved = 0
        self._waiting: deque[_Waiting] = deque()
        self._lock = threading.Lock()

    @property
    def reserved_bytes(self) -> int:
        """Bytes that are reserved at this moment."""
        return self._reserved

    def reserve(self, size: int, *, deadline: Deadline) -> "Reservation":
        """Wait until there is room, and reserve it until `Reservation.release`.

        Raises:
            ImageTooLargeError: It is more than the whole share.
            OverloadedError: There was no room in time.
            DeadlineExceededError: The deadline has passed.
        """
        with self._lock:
            if not self._waiting and self._reserved + size <= self.max_bytes:
                self._reserved += size
                return Reservation(self, size)
            if size > self.max_bytes:
                raise self._too_large(size)
            waiting = _Waiting(size, threading.Event())
            self._waiting.append(waiting)
        try:
            is_admitted = waiting.admitted.wait(deadline.remaining_s(self._max_wait_s))
        except DeadlineExceededError:
            self._give_up(waiting)
            raise
        if not is_admitted and self._give_up(waiting):
            raise no_memory()
        return Reservation(self, size)

    def change(self, size: int) -> None:
        """Reserve more bytes at once, or give some back if the number is negative.

        Raises:
            OverloadedError: There is no room. What is held already must not wait for what others hold.
        """
        with self._lock:
            if size > 0 and self._reserved + size > self.max_bytes:
                raise no_memory()
            self._reserved += size
            self._admit()

    def _give_up(self, waiting: _Waiting) -> bool:
        """Stop waiting; return False if room was reserved in the meantime."""
        with self._lock:
            if waiting.admitted.is_set():
                return False
            self._waiting.remove(waiting)
            self._admit()  # those behind may be smaller
            return True

    def _admit(self) -> None:
        while self._waiting and self._reserved + self._waiting[0].size <= self.max_bytes:
            waiting = self._waiting.popleft()
            self._reserved += waiting.size
            waiting.admitted.set()

    def _too_large(self, size: int) -> ImageTooLargeError:
        return ImageTooLargeError(
            f"This takes {size / MEGABYTE:.0f} MB of memory; at most {self.max_bytes / MEGABYTE:.0f} MB are available "
            "to one request, a share of GATEWAY_MEMORY_BUDGET_BYTES. Send a smaller image, or a JPEG."
        )


@dataclass(slots=True)
class Reservation:
    """Bytes of a share that belong to one request; as a context manager, they are released at the end."""

    share: Share
    size: int

    def resize(self, size: int) -> None:
        """Hold this many bytes from now on.

        Raises:
            OverloadedError: It is more than before, and there is no room at this moment.
        """
        self.share.change(size - self.size)
        self.size = size

    def release(self) -> None:
        """Give all bytes back."""
        if self.size:
            self.resize(0)

    def __enter__(self) -> Self:
        """Return the reservation."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give all bytes back."""
        self.release()


class MemoryBudget:
    """The budget of a worker.

    Args:
        max_bytes: Its size.
        max_wait_s: Maximum time that a request waits for memory.

    Attributes:
        bodies: For request bodies and the images in them, held until the response is made.
        downloads: For images fetched by URL, held until the response is made.
        work: For decoding and for tensors, held only while they are computed.
    """

    def __init__(self, max_bytes: int, *, max_wait_s: float) -> None:
        bodies, downloads = bodies_share(max_bytes), downloads_share(max_bytes)
        self.bodies = Share(bodies, max_wait_s=max_wait_s)
        self.downloads = Share(downloads, max_wait_s=max_wait_s)
        self.work = Share(max_bytes - bodies - downloads, max_wait_s=max_wait_s)

    def reserve(self, size: int, *, deadline: Deadline) -> Reservation:
        """Reserve memory for work on an image; see `Share.reserve`."""
        return self.work.reserve(size, deadline=deadline)


def bodies_share(max_bytes: int) -> int:
    """Return the part of a budget that is for bodies."""
    return int(max_bytes * BODIES_FRACTION)


def downloads_share(max_bytes: int) -> int:
    """Return the part of a budget that is for images fetched by URL."""
    return int(max_bytes * DOWNLOADS_FRACTION)


def smallest_budget(max_body_bytes: int) -> int:
    """Return the budget that one body of the largest size, or a batch of URLs of that size together, fits into."""
    return int(max(max_body_bytes * BODY_FACTOR / BODIES_FRACTION, max_body_bytes / DOWNLOADS_FRACTION)) + 1


def default_budget(workers: int, max_body_bytes: int) -> int:
    """Return half of the memory that this process may use, divided among the workers, within sensible limits."""
    share = available_bytes() // 2 // workers
    return max(min(max(share, MIN_BYTES), MAX_BYTES), smallest_budget(max_body_bytes))


def available_bytes() -> int:
    """Return the memory of the machine, or the limit of this process's control group if that is lower."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_cgroup_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def _cgroup_limits(membership: Path, root: Path) -> Iterator[int]:
    """Yield the memory limits of the control group and of those that contain it; see cgroups(7)."""
    with contextlib.suppress(OSError):  # there are no control groups on this system
        for line in membership.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                folder, name = root, "memory.max"
            elif "memory" in controllers.split(","):
                folder, name = root / "memory", "memory.limit_in_bytes"
            else:
                continue
            # In a container, its own group is mounted at the root, whatever its path is outside.
            for group in {folder, *(folder / path.lstrip("/") / "x").parents}:
                with contextlib.suppress(OSError, ValueError):  # a group without a limit says "max"
                    yield int((group / name).read_text(encoding="ascii"))


def no_memory() -> OverloadedError:
    """Return the error for a request for which there is no memory at this moment."""
    return OverloadedError("The gateway has no memory left for this request at the moment. Try again shortly.")
