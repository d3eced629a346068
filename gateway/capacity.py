"""What a worker takes on at once: requests, images and bytes of memory.

A request first takes a place, of which there are as many as threads for requests. It then reserves what it needs, in
this order: memory for its body, memory for images that it fetches, slots for its images, memory for each step of the
work. It waits only for a share of which it holds nothing, and never for one that comes before a share that it holds. So
no two requests ever wait for each other, and what holds a part of the last share always ends.
"""

import math
import threading
from dataclasses import dataclass, field
from typing import Self

from gateway.deadline import Deadline
from gateway.errors import (
    BodyTooLargeError,
    DeadlineExceededError,
    ImageTooLargeError,
    OverloadedError,
    TooManyImagesError,
)
from gateway.memory_limit import available_bytes
from gateway.sizes import format_limit, format_size

MIN_BUDGET_BYTES = 128 * 1024**2
MAX_BUDGET_BYTES = 3 * 1024**3
"""With it, the share of the decoder processes is enough for an image of 50 megapixels in any format."""
BODIES_FRACTION = 3 / 8
DOWNLOADS_FRACTION = 1 / 8
DECODERS_FRACTION = 3 / 8
BODY_FACTOR = 3
"""Bytes of memory that reading and parsing a body takes at its peak, for each byte of it."""
PLACE_BYTES = 64 * 1024
"""Bytes of its body that every request may send without a reservation."""
PLACES_RATIO = 3
"""How many places a client may have for each that it leaves to the others: three quarters of all if it is alone."""
MIN_PLACES_PER_CLIENT = 16
"""Places that a client may have although it leaves fewer to the others."""


@dataclass(slots=True, eq=False)
class _Waiter:
    size: int
    client: str
    admitted: threading.Event


class Share:
    """A number of slots or bytes that requests reserve parts of; safe to use from many threads.

    If some have to wait, the client that holds least is next. The requests of one client are served in the order in
    which they arrived, so that small ones do not starve a large one.

    Args:
        size: The number.
        max_wait_s: Maximum time that a reservation waits for others to be released.
        unit: What it is a number of.
    """

    def __init__(self, size: int, *, max_wait_s: float, unit: str = "memory") -> None:
        self.size = size
        self._max_wait_s = max_wait_s
        self._unit = unit
        self._reserved = 0
        self._reserved_by: dict[str, int] = {}  # by client
        self._waiting: list[_Waiter] = []  # in order of arrival
        self._lock = threading.Lock()

    @property
    def reserved(self) -> int:
        """How much of it is reserved at this moment."""
        return self._reserved

    def reserve(self, size: int, *, deadline: Deadline, client: str = "") -> "Reservation":
        """Wait until there is room, and reserve it until `Reservation.release`.

        Args:
            size: How much.
            deadline: When the request ends.
            client: Who sent it.

        Raises:
            ImageTooLargeError: It is more than the whole share.
            OverloadedError: Not enough was released in time.
            DeadlineExceededError: The deadline has passed.
        """
        with self._lock:
            if not self._waiting and self._reserved + size <= self.size:
                self._add(size, client)
                return Reservation(self, size, client)
            if size > self.size:
                raise self._too_large(size)
            waiter = _Waiter(size, client, threading.Event())
            self._waiting.append(waiter)
            self._admit()
        try:
            is_admitted = waiter.admitted.wait(deadline.remaining_s(self._max_wait_s))
        except DeadlineExceededError:
            if not self._give_up(waiter):
                self.change(-size, client)
            raise
        if not is_admitted and self._give_up(waiter):
            raise self._overloaded()
        return Reservation(self, size, client)

    def change(self, size: int, client: str = "") -> None:
        """Reserve more at once, or give some back if the number is negative.

        Raises:
            OverloadedError: Not enough is free. A request that holds a part never waits for more of it.
        """
        with self._lock:
            if size > 0 and self._reserved + size > self.size:
                raise self._overloaded()
            self._add(size, client)
            if self._waiting:
                self._admit()

    def _add(self, size: int, client: str) -> None:
        self._reserved += size
        held = self._reserved_by.get(client, 0) + size
        if held:
            self._reserved_by[client] = held
        else:
            self._reserved_by.pop(client, None)

    def _give_up(self, waiter: _Waiter) -> bool:
        """Stop waiting; return False if room was reserved in the meantime."""
        with self._lock:
            if waiter.admitted.is_set():
                return False
            self._waiting.remove(waiter)
            self._admit()  # those behind may be smaller
            return True

    def _admit(self) -> None:
        while self._waiting:
            waiter = min(self._waiting, key=lambda waiter: self._reserved_by.get(waiter.client, 0))
            if self._reserved + waiter.size > self.size:
                return
            self._waiting.remove(waiter)
            self._add(waiter.size, waiter.client)
            waiter.admitted.set()

    def _overloaded(self) -> OverloadedError:
        return OverloadedError(f"There is not enough {self._unit} for this request at the moment. Try again shortly.")

    def _too_large(self, size: int) -> ImageTooLargeError:
        return ImageTooLargeError(
            f"The request takes {format_size(size)} of {self._unit}; at most {format_limit(self.size)} is available, a "
            "share of GATEWAY_MEMORY_BUDGET_BYTES. Send a smaller image, or a JPEG."
        )


@dataclass(slots=True, eq=False)
class Reservation:
    """A part of a share that belongs to one request; as a context manager, it is released at the end."""

    share: Share
    size: int
    client: str = ""

    def resize(self, size: int) -> None:
        """Hold this much from now on.

        Raises:
            OverloadedError: It is more than before, and not enough is free at this moment.
        """
        self.share.change(size - self.size, self.client)
        self.size = size

    def release(self) -> None:
        """Give all of it back."""
        if self.size:
            self.resize(0)

    def __enter__(self) -> Self:
        """Return the reservation."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give all of it back."""
        self.release()


class MemoryBudget:
    """The memory of a worker for its requests.

    Args:
        max_bytes: All of it.
        places: Number of requests whose first `PLACE_BYTES` need no reservation.
        max_wait_s: Maximum time that a request waits for a part of it.

    Attributes:
        bodies: For request bodies of more than `PLACE_BYTES`, the images in them, and the inputs of the model that
            batches become, held until the response is sent.
        downloads: For images fetched by URL, held until the response is sent.
        decoders: For images in decoder processes, held while they are decoded. It is a share of its own, so that plain
            images do not wait for images that take long.
        work: For decoding plain images, and for tensors, held only while they are computed.
    """

    def __init__(self, max_bytes: int, *, places: int, max_wait_s: float) -> None:
        bodies, downloads = int(max_bytes * BODIES_FRACTION), int(max_bytes * DOWNLOADS_FRACTION)
        self.bodies = Share(bodies - _bytes_of_places(places), max_wait_s=max_wait_s, unit="memory for bodies")
        self.downloads = Share(downloads, max_wait_s=max_wait_s, unit="memory for images behind URLs")
        decoders = int(max_bytes * DECODERS_FRACTION)
        self.decoders = Share(decoders, max_wait_s=max_wait_s, unit="memory for decoding")
        work = max_bytes - bodies - downloads - decoders
        self.work = Share(work, max_wait_s=max_wait_s, unit="memory for computing")


def _bytes_of_places(places: int) -> int:
    # Some of the requests are being parsed at the same time, and then take more than their bodies.
    return places * PLACE_BYTES * 2


def smallest_budget(max_body_bytes: int, places: int) -> int:
    """Return the budget that the largest body, and a batch of URLs whose images have as many bytes, fit into."""
    bodies = max_body_bytes * BODY_FACTOR + _bytes_of_places(places)
    return math.ceil(max(bodies / BODIES_FRACTION, max_body_bytes / DOWNLOADS_FRACTION))


def default_budget(workers: int) -> int:
    """Return half of the memory that this process may use, divided among the workers, within sensible limits."""
    return min(max(available_bytes() // 2 // workers, MIN_BUDGET_BYTES), MAX_BUDGET_BYTES)


class Downloads:
    """Counts the bytes that one request fetches and holds; an `Allowance`, safe to use from many threads.

    Args:
        share: The memory that they are reserved from.
        max_bytes: How many they may be.
    """

    def __init__(self, share: Share, max_bytes: float) -> None:
        self._share = share
        self._max_bytes = max_bytes
        self._size = 0
        self._is_released = False
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Reserve memory for bytes that have arrived.

        Bytes are counted even if their image is then given up, since they have been fetched.

        Raises:
            BodyTooLargeError: The images of the request have more bytes than the limit.
            OverloadedError: Not enough memory is free at this moment, or the request has ended.
        """
        with self._lock:
            if self._is_released:
                raise OverloadedError("The request has ended.")
            if self._size + count > self._max_bytes:
                raise BodyTooLargeError(
                    f"The images behind the URLs of this request have more than {format_limit(int(self._max_bytes))} "
                    "together. Send them in several requests.",
                    max_bytes=self._max_bytes,
                )
            self._share.change(count)
            self._size += count

    def release(self) -> None:
        """Give the memory back; from now on, no bytes are accepted."""
        with self._lock:
            self._is_released = True
            self._share.change(-self._size)


class Admission:
    """Admits requests to a worker; safe to use from many threads.

    Args:
        memory: The memory for all of them.
        slots: Maximum number of images that are decoded and classified at once. A batch occupies a slot for each of its
            images, but all batches together at most half of the slots: one client's batches leave room for photos.
        max_waiting: Maximum number of requests beyond that: those that are received, fetch images or wait for a slot.
        max_wait_s: Maximum time that a request waits for a slot.
        max_download_bytes: Maximum number of bytes that the images behind the URLs of one batch have together.
    """

    def __init__(
        self, memory: MemoryBudget, *, slots: int, max_waiting: int, max_wait_s: float, max_download_bytes: int
    ) -> None:
        self.memory = memory
        self.slots = Share(slots, max_wait_s=max_wait_s, unit="capacity")
        self.batch_slots = Share(max(1, slots // 2), max_wait_s=max_wait_s, unit="capacity for batches")
        self.max_download_bytes = max_download_bytes
        self._free_places = slots + max_waiting
        self._places: dict[str, int] = {}  # by client
        self._lock = threading.Lock()

    def enter(self, client: str = "", *, deadline: Deadline) -> "Place":
        """Give a request a place until `Place.release`.

        Args:
            client: Who sent it: the name of its key, or its address.
            deadline: When it ends.

        Raises:
            OverloadedError: There are as many requests as the worker takes on, or too many of this client.
        """
        with self._lock:
            of_client = self._places.get(client, 0)
            if not self._free_places or of_client >= max(PLACES_RATIO * self._free_places, MIN_PLACES_PER_CLIENT):
                raise OverloadedError("More requests arrived than can be answered in time. Try again shortly.")
            self._free_places -= 1
            self._places[client] = of_client + 1
        return Place(self, client, deadline)

    def release(self, client: str) -> None:
        """Take back a place of a client."""
        with self._lock:
            self._free_places += 1
            self._places[client] -= 1
            if not self._places[client]:
                del self._places[client]


@dataclass(slots=True, eq=False)
class Place:
    """What a request occupies of a worker until it is answered.

    Attributes:
        admission: Where the place is.
        client: Who sent the request: the name of its key, or its address.
        deadline: Deadline of the request.
        body: The memory for its body, and then for its response; None if both are small.
        is_released_after_sending: Whether the server releases the place once it has sent the response.
    """

    admission: Admission
    client: str
    deadline: Deadline
    body: Reservation | None = None
    is_released_after_sending: bool = False
    _downloads: Downloads | None = None
    _inputs_size: int = 0
    _slots: list[Reservation] = field(default_factory=list)
    _is_released: bool = False

    def receive(self, size: int) -> Reservation:
        """Wait for the memory that reading and parsing a body of this size takes.

        Raises:
            OverloadedError: There was none in time.
            DeadlineExceededError: The deadline has passed.
        """
        self.body = self.admission.memory.bodies.reserve(size * BODY_FACTOR, deadline=self.deadline, client=self.client)
        return self.body

    def download(self, images: int) -> Downloads:
        """Return the allowance for fetching this number of images; a single one is limited by the fetcher alone."""
        max_bytes = self.admission.max_download_bytes if images > 1 else math.inf
        self._downloads = Downloads(self.admission.memory.downloads, max_bytes)
        return self._downloads

    def start(self, images: int) -> None:
        """Wait for the slots in which this number of images is decoded and classified, unless it has them already.

        Raises:
            OverloadedError: They were not free in time.
            DeadlineExceededError: The deadline has passed.
        """
        if self._slots:
            return
        count = 1
        if images > 1:
            count = min(images, self.admission.batch_slots.size)
            self._slots.append(self.admission.batch_slots.reserve(count, deadline=self.deadline, client=self.client))
        self._slots.append(self.admission.slots.reserve(count, deadline=self.deadline, client=self.client))

    def compute(self, size: int) -> Reservation:
        """Wait for the memory of a call; a call that needs more than the whole share reserves all of it.

        Raises:
            OverloadedError: There was none in time.
            DeadlineExceededError: The deadline has passed.
        """
        work = self.admission.memory.work
        return work.reserve(min(size, work.size), deadline=self.deadline, client=self.client)

    def hold_inputs(self, images: int, input_bytes: int) -> None:
        """Hold memory for this number of prepared images until the request is answered; it replaces an earlier number.

        Raises:
            TooManyImagesError: They are more than all requests together may hold.
            OverloadedError: Not enough is free at this moment.
        """
        bodies, size = self.admission.memory.bodies, images * input_bytes
        if size > bodies.size:
            raise TooManyImagesError(
                f"{images} images take {format_size(size)} as inputs of the model; at most {format_limit(bodies.size)} "
                "is available, a share of GATEWAY_MEMORY_BUDGET_BYTES. Send fewer.",
                max_images=bodies.size // input_bytes,
            )
        body = self._reservation()
        body.resize(body.size - self._inputs_size + size)
        self._inputs_size = size

    def free_slots(self) -> None:
        """Give the slots back, until `start`."""
        while self._slots:
            self._slots.pop().release()

    def respond(self, size: int) -> None:
        """Hold memory for a response until it is sent; a small one needs none but that of the place.

        Raises:
            OverloadedError: Not enough is free at this moment.
        """
        if size <= PLACE_BYTES:
            return
        body = self._reservation()
        body.resize(max(size, body.size))

    def release(self) -> None:
        """Give everything back, once."""
        if self._is_released:
            return
        self._is_released = True
        self.free_slots()
        if self._downloads is not None:
            self._downloads.release()
        if self.body is not None:
            self.body.release()
        self.admission.release(self.client)

    def _reservation(self) -> Reservation:
        """Return the reservation of the body, which may be empty."""
        if self.body is None:
            self.body = Reservation(self.admission.memory.bodies, 0, self.client)
        return self.body
