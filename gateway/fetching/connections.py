"""HTTP connections that are opened only to checked addresses, and are cut at a deadline."""

import contextlib
import functools
import socket
import ssl
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import ALPN_PROTOCOLS, create_urllib3_context

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, FetchError, OverloadedError
from gateway.fetching.addresses import EXHAUSTED, AddressGuard
from gateway.fetching.ip_addresses import subscriber
from gateway.fetching.lookups import Address, SharedLookups
from gateway.fetching.responses import BoundedResponse

WATCH_S = 0.2
TLS_FACTOR, TLS_BYTES = 2, 1024 * 1024
"""Bytes that may arrive for each byte of a body, and in addition: records, handshakes, heads."""
TCP_INFO_BYTES, RECEIVED_OFFSET = 192, 128
"""Size of the beginning of `struct tcp_info` of Linux (linux/tcp.h), and where `tcpi_bytes_received` is in it."""


class HostConnections:
    """The connections to each host at the same time; safe to use from many threads.

    Hosts are distinguished by address, because any number of names may lead to one address. A client gets no more
    connections to a host than it leaves free, as in `FetchPool`.

    Args:
        max_connections: Maximum number for one host.
        max_wait_s: Maximum time that a fetch waits for one.
    """

    def __init__(self, max_connections: int, *, max_wait_s: float) -> None:
        self._max_connections = max_connections
        self._max_wait_s = max_wait_s
        self._open: Counter[tuple[str, str | None]] = Counter()  # by host and client, and of each host in all
        self._condition = threading.Condition()

    @contextlib.contextmanager
    def occupy(self, host: str, client: str, *, deadline: Deadline) -> Iterator[None]:
        """Wait until a client may have one more connection to a host, and count it.

        Raises:
            OverloadedError: There were too many for all of the maximum time.
            DeadlineExceededError: There were too many until the deadline.
        """
        of_host, of_client = (host, None), (host, client)
        with self._condition:
            if not self._condition.wait_for(
                lambda: self._open[of_client] < self._max_connections - self._open[of_host],
                timeout=deadline.remaining_s(self._max_wait_s),
            ):
                deadline.remaining_s()
                raise OverloadedError("Too many images are being fetched from this host. Try again shortly.")
            self._open.update((of_host, of_client))
        try:
            yield
        finally:
            with self._condition:
                self._open.subtract((of_host, of_client))
                self._open = +self._open  # forget those without connections
                self._condition.notify_all()


@dataclass(frozen=True, slots=True)
class Network:
    """What the connections of all fetches share.

    Attributes:
        guard: Resolves hosts and checks their addresses.
        hosts: Counts the connections to each host.
        max_bytes: Size of a body that may be accepted.
        via_proxy: Whether connections go to a proxy, which the operator chose and whose address is not checked.
    """

    guard: AddressGuard
    hosts: HostConnections
    max_bytes: int
    via_proxy: bool = False


class GuardedConnector:
    """Opens the connections of one fetch, and cuts them at its deadline.

    Args:
        network: What it shares with other fetches.
        deadline: When the fetch ends.
        client: Who it is for.
        lookups: Names that are resolved once for several fetches.
    """

    def __init__(
        self, network: Network, deadline: Deadline, *, client: str = "", lookups: SharedLookups | None = None
    ) -> None:
        self.deadline = deadline
        self.max_bytes = network.max_bytes
        self._network = network
        self._client = client
        self._lookups = lookups
        self._sockets: list[socket.socket] = []
        self._occupied = contextlib.ExitStack()

    @contextlib.contextmanager
    def visit(self, host: str) -> Iterator[None]:
        """Count the connections that are opened inside until its end; of those to a proxy, the host is what counts."""
        with self._occupied:
            if self._network.via_proxy:
                self._occupied.enter_context(self._occupy(host, self.deadline))
            yield

    def connect(self, host: str, port: int) -> socket.socket:
        """Open a connection to the first address of the host that accepts it.

        Raises:
            FetchRefusedError: The host is unknown, or must not be connected to.
            FetchError: No address accepts the connection.
            OverloadedError: There are too many connections to the host, or this machine can open no more.
            DeadlineExceededError: No address accepts the connection in time.
        """
        failure: Exception | None = None
        addresses = self._look_up(host, port)
        for index, address in enumerate(addresses):
            # Each address gets an equal share of the time, so that one that does not answer leaves time for the rest.
            share = self.deadline.no_later_than(self.deadline.remaining_s() / (len(addresses) - index))
            try:
                return self._open(address, share)
            except (OSError, DeadlineExceededError, OverloadedError) as error:
                failure = error
        self.deadline.remaining_s()
        if isinstance(failure, OverloadedError):
            raise failure
        if isinstance(failure, OSError) and failure.errno in EXHAUSTED:
            raise OverloadedError(
                "The gateway cannot open more connections at the moment. Try again shortly."
            ) from failure
        raise FetchError(
            f"The host {host} does not accept connections on port {port}. Check the URL, or send the image itself."
        ) from failure

    def _look_up(self, host: str, port: int) -> list[Address]:
        guard = self._network.guard
        resolve = guard.lookup if self._network.via_proxy else guard.resolve
        if self._lookups is None:
            return resolve(host, port, deadline=self.deadline)
        return self._lookups.get(
            host, port, lambda: resolve(host, port, deadline=self.deadline), deadline=self.deadline
        )

    def _open(self, address: Address, deadline: Deadline) -> socket.socket:
        with contextlib.ExitStack() as stack:
            if not self._network.via_proxy:
                stack.enter_context(self._occupy(subscriber(str(address.sockaddr[0])), deadline))
            sock = socket.socket(address.family, socket.SOCK_STREAM)
            stack.callback(sock.close)
            sock.settimeout(deadline.remaining_s())
            sock.connect(address.sockaddr)
            sock.settimeout(self.deadline.remaining_s())
            self.track(sock)
            self._occupied.enter_context(stack.pop_all())
        return sock

    def _occupy(self, host: str, deadline: Deadline) -> contextlib.AbstractContextManager[None]:
        return self._network.hosts.occupy(host, self._client, deadline=deadline)

    def track(self, sock: socket.socket) -> None:
        """Cut a connection at the deadline; called again with the TLS socket once TLS is established.

        Raises:
            DeadlineExceededError: The deadline passed before the connection could be tracked.
        """
        self._sockets.append(sock)
        self.deadline.remaining_s()

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Cut the connections at the deadline, or when far more bytes arrive than anybody reads.

        Both are needed although reading has limits: a socket timeout restarts with every byte, and a TLS library
        handles any number of its own messages before it returns.
        """
        self.deadline.remaining_s()
        has_ended = threading.Event()
        threading.Thread(target=self._watch, args=(has_ended,), name="fetch-watch", daemon=True).start()
        try:
            yield
        finally:
            has_ended.set()

    def _watch(self, has_ended: threading.Event) -> None:
        max_received_bytes = TLS_FACTOR * self.max_bytes + TLS_BYTES
        while not has_ended.wait(min(WATCH_S, max(0, self.deadline.at_s - time.monotonic()))):
            if self.deadline.has_passed or any(received_bytes(sock) > max_received_bytes for sock in self._sockets):
                self._abort()
                return

    def _abort(self) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                # SSLSocket.shutdown would remove the TLS state that the reading thread uses.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _GuardedHTTPConnection(HTTPConnection):
    connector: GuardedConnector

    def _new_conn(self) -> socket.socket:
        return self.connector.connect(self.host, self.port)

    def connect(self) -> None:
        super().connect()
        self.connector.track(self.sock)

    def response_class(self, sock: socket.socket, **options: Any) -> BoundedResponse:  # type: ignore[override]
        # http.client calls this attribute, a class of its own by default.
        connector = self.connector
        return BoundedResponse(sock, deadline=connector.deadline, max_bytes=connector.max_bytes, **options)


class _GuardedHTTPSConnection(_GuardedHTTPConnection, HTTPSConnection):
    """A guarded connection on which `HTTPSConnection.connect` establishes TLS."""

    def connect(self) -> None:
        if self.ca_certs is not None and self.proxy is None:
            self.ssl_context = _tls_context(self.ca_certs, Path(self.ca_certs).stat().st_mtime_ns)
            self.ca_certs = None
        super().connect()


@functools.lru_cache(maxsize=4)
def _tls_context(ca_certs: str, _modified_ns: int) -> ssl.SSLContext:
    """Return a context that trusts the certificate authorities of a file; to load them takes 20 ms of CPU."""
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.load_verify_locations(ca_certs)
    context.set_alpn_protocols(ALPN_PROTOCOLS)
    # urllib3 calls it for each connection; it must not change a context while another thread uses it.
    context.set_alpn_protocols = lambda _: None  # type: ignore[assignment,method-assign]
    return context


def received_bytes(sock: socket.socket) -> int:
    """Return how many bytes have arrived on a TCP connection, as the kernel counts them; 0 if it does not tell."""
    if sys.platform != "linux":
        return 0
    with contextlib.suppress(OSError, struct.error):  # closed; an old kernel
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
        return int(struct.unpack_from("=Q", info, RECEIVED_OFFSET)[0])
    return 0


class _GuardedAdapter(HTTPAdapter):
    """Opens every connection with one connector."""

    def __init__(self, connector: GuardedConnector) -> None:
        self._connector = connector
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:  # noqa: FBT001, FBT002  # the signature is requests'
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block)
        self.poolmanager.pool_classes_by_scheme = self._pools()

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> ProxyManager:
        """Return a pool manager that connects through a proxy."""
        manager: ProxyManager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = self._pools()
        return manager

    def _pools(self) -> dict[str, type[HTTPConnectionPool]]:
        # urllib3 makes pools and connections by class, so the connector is an attribute of classes made for this fetch.
        members = {"connector": self._connector}
        http, https = (
            type("Connection", (base,), members) for base in (_GuardedHTTPConnection, _GuardedHTTPSConnection)
        )
        return {
            "http": type("HTTPPool", (HTTPConnectionPool,), {"ConnectionCls": http}),
            "https": type("HTTPSPool", (HTTPSConnectionPool,), {"ConnectionCls": https}),
        }


class GuardedSession(requests.Session):
    """A session that opens all its connections with one connector, and never follows redirects."""

    def __init__(self, connector: GuardedConnector) -> None:
        super().__init__()
        self.trust_env = False  # ignore proxies, .netrc and certificates of the environment
        self.mount("http://", _GuardedAdapter(connector))
        self.mount("https://", _GuardedAdapter(connector))

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: `UrlFetcher` follows redirects.

        With a target, requests would read and decompress the whole body of the redirect, however large.
        """
