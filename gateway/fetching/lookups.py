"""Lookups of names that several fetches of one request share."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from socket import AddressFamily
from typing import Any

from gateway.deadline import Deadline


@dataclass(frozen=True, slots=True)
class Address:
    """An address to connect to, as returned by `socket.getaddrinfo`."""

    family: AddressFamily
    sockaddr: tuple[Any, ...]


class SharedLookups:
    """The results of lookups, errors included, each of which is done once; safe to use from many threads."""

    def __init__(self) -> None:
        self._results: dict[tuple[str, int], Future[list[Address]]] = {}
        self._lock = threading.Lock()

    def get(self, host: str, port: int, look_up: Callable[[], list[Address]], *, deadline: Deadline) -> list[Address]:
        """Return what the lookup of this host and port returned or raised; do it if nobody has begun it.

        Raises:
            DeadlineExceededError: The lookup of another thread did not end in time.
        """
        with self._lock:
            shared = self._results.get((host, port))
            if shared is None:
                own = self._results[host, port] = Future()
        if shared is not None:
            try:
                return shared.result(timeout=deadline.remaining_s())
            except FutureTimeoutError:
                raise deadline.exceeded() from None
        try:
            own.set_result(look_up())
        except Exception as error:  # noqa: BLE001  # raised below, and in every other thread that asks
            own.set_exception(error)
        return own.result()
