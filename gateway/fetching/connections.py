"""Connections that go only where the guard lets them, and end with the deadline."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, FetchError
from gateway.fetching.addresses import Address, AddressGuard


class Trip:
    """One fetch: its deadline and the sockets it opened.

    Args:
        guard: Says which addresses may be connected to.
        deadline: When it ends.
        by_proxy: Whether connections go to a proxy, which an operator has named, instead of the URL's host.
    """

    def __init__(self, guard: AddressGuard, deadline: Deadline, *, by_proxy: bool = False) -> None:
        self.deadline = deadline
        self._resolve = guard.lookup if by_proxy else guard.resolve
        self._sockets: list[socket.socket] = []

    def connect(self, host: str, port: int) -> socket.socket:
        """Open a connection to an address of the host that the guard has let through.

        Raises:
            FetchRefusedError: it has let none through.
            FetchError: none takes the connection.
            DeadlineExceededError: none takes it in time.
        """
        failure: Exception | None = None
        addresses = self._resolve(host, port, deadline=self.deadline)
        for tried, address in enumerate(addresses):
            # An address that never answers leaves the others their share of the time.
            patience_s = self.deadline.remaining_s() / (len(addresses) - tried)
            try:
                return self._open(address, patience_s)
            except (OSError, DeadlineExceededError) as error:
                failure = error
        self.deadline.remaining_s()
        raise FetchError(f"The host {host} does not accept connections on port {port}.") from failure

    def _open(self, address: Address, patience_s: float) -> socket.socket:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.settimeout(patience_s)
            sock.connect(address.sockaddr)
            sock.settimeout(self.deadline.remaining_s())
            self.opened(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def opened(self, sock: socket.socket) -> None:
        """Take a connection, before and after its TLS is set up, under the deadline."""
        self._sockets.append(sock)
        self.deadline.remaining_s()  # it may have passed just before, when there was nothing yet to cut

    @contextlib.contextmanager
    def aborted_when_late(self) -> Iterator[None]:
        """Cut the connections at the deadline: socket timeouts alone start anew with every byte that trickles in."""
        timer = threading.Timer(self.deadline.remaining_s(), self._abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _abort(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                # The plain shutdown: SSLSocket's own takes the TLS state from under the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _GuardedHTTPConnection(HTTPConnection):
    trip: Trip

    def _new_conn(self) -> socket.socket:
        return self.trip.connect(self.host, self.port)

    def connect(self) -> None:
        super().connect()
        self.trip.opened(self.sock)


class _GuardedHTTPSConnection(_GuardedHTTPConnection, HTTPSConnection):
    """The same, with TLS set up by `HTTPSConnection.connect` on the connection that the guard opened."""


class _GuardedAdapter(HTTPAdapter):
    """Opens every connection through the guard."""

    def __init__(self, trip: Trip) -> None:
        self._trip = trip
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:  # noqa: FBT001, FBT002  # the signature is requests'
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block)
        self.poolmanager.pool_classes_by_scheme = self._pools()

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> ProxyManager:
        """Make what connects by way of a proxy."""
        manager: ProxyManager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = self._pools()
        return manager

    def _pools(self) -> dict[str, type[HTTPConnectionPool]]:
        trip = {"trip": self._trip}
        plain, secure = (
            type("Connection", (base,), trip) for base in (_GuardedHTTPConnection, _GuardedHTTPSConnection)
        )
        return {
            "http": type("Plain", (HTTPConnectionPool,), {"ConnectionCls": plain}),
            "https": type("Secure", (HTTPSConnectionPool,), {"ConnectionCls": secure}),
        }


class GuardedSession(requests.Session):
    """A session all of whose connections are those of one trip.

    It leaves redirects alone, even where it is asked only to tell where they lead: requests reads the whole body of a
    redirect for that, however long, and unpacks it.
    """

    def __init__(self, trip: Trip) -> None:
        super().__init__()
        self.trust_env = False  # no proxy, no .netrc and no certificates from the environment
        self.mount("http://", _GuardedAdapter(trip))
        self.mount("https://", _GuardedAdapter(trip))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Find none."""
