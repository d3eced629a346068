"""A gunicorn worker and logger with less work for each request, and bounds on what a connection may hold."""

import contextlib
import errno
import operator
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from gunicorn import util  # type: ignore[import-untyped]
from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.http import wsgi  # type: ignore[import-untyped]
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker  # type: ignore[import-untyped]

from gateway.errors import NO_RESOURCES
from gateway.observability.log_stream import separate_from_stderr
from gateway.runtime.connection import Connection
from gateway.runtime.gunicorn_messages import Response
from gateway.runtime.listening import unmap
from gateway.runtime.refusals import make_response, request_id_of, status_of
from gateway.runtime.timed_socket import TimedSocket

NO_RESOURCES_PAUSE_S = 0.05
MAX_SPARE_THREADS = 2
FAILED_START_S = 2.0
"""Time for gunicorn to stop all workers once the first of them could not start."""
FAILED_START_POLL_S = 0.02
UNREAD_BODY_S = 0.1
"""Time for a body that the application did not read, if the connection is to stay open."""


class ErrorLogger(Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger without access log, because the application logs its requests itself.

    With a logging dictionary, gunicorn collects about a hundred values for each request, even if nothing is written.
    """

    access_log_enabled = False

    def setup(self, cfg: Any) -> None:
        """Configure logging; see `Logger.setup`."""
        separate_from_stderr()
        super().setup(cfg)

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """Log an error with its traceback, unless a client was too slow."""
        write = super().debug if isinstance(sys.exception(), TimeoutError) else super().exception
        write(msg, *args, **kwargs)


class Worker(ThreadWorker):  # type: ignore[misc]  # as above
    """gunicorn's threaded worker with fewer thread switches, where only whole heads of requests take a thread.

    gunicorn passes every request to a thread of a pool, and the connection back to the main thread, which waits for the
    next request: three threads wake up for each. nginx soon uses the same connection again. So, as long as there is a
    thread for every connection, the thread that answered a request waits a moment for the next one itself.

    gunicorn gives each new connection a thread for 5 s, and a head of which a byte has arrived for as long as it likes.
    Here the main thread collects heads, closes connections whose head takes too long, and at the limit of connections
    the idle one that has waited longest. The last threads are for requests without a body, such as health checks: a
    body may arrive slowly. `pending_conns` are those without a whole head, and those that are closed once the client
    has read the response; the first is always the oldest.

    Attributes:
        stay_ms: How long the thread waits before it returns the connection, in milliseconds.
        head_timeout_s: Time for the whole head of a request, as in nginx, and for what a client still sends after the
            last response, in seconds.
    """

    stay_ms = 100
    head_timeout_s = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Otherwise each access, of which a request takes a hundred, looks through all settings of gunicorn.
        self.cfg.__dict__.update({name: setting.get() for name, setting in self.cfg.settings.items()})
        self._current = threading.local()
        self._threads_for_bodies = self.cfg.threads - min(MAX_SPARE_THREADS, self.cfg.threads // 8)
        self._in_threads = 0
        self._staying: set[Connection] = set()  # those of them whose thread waits a moment for the next request
        self._lacks_resources = False

    def load_wsgi(self) -> None:
        """Import the application; see `Worker.load_wsgi`.

        Of several workers that cannot start, only the first one says so to gunicorn, which stops all of them: a second
        one would interrupt that with a traceback.
        """
        try:
            super().load_wsgi()
        except SystemExit:
            deadline_s = time.monotonic() + (FAILED_START_S if self.age > 1 else 0)
            while self.alive and time.monotonic() < deadline_s:
                time.sleep(FAILED_START_POLL_S)
            if self.alive:
                raise
            sys.exit(0)

    # In the main thread

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; see `ThreadWorker.accept`."""
        try:
            client_socket, address = listener.accept()
        except OSError as error:
            if error.errno in NO_RESOURCES:
                self._lacks_resources = True
            elif error.errno not in {errno.EAGAIN, errno.ECONNABORTED}:
                raise
            return
        self.nr_conns += 1
        conn = Connection(self.cfg, TimedSocket.wrap(client_socket), unmap(address), listener.getsockname())
        self._await(conn, conn.receive_head)

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Receive the next request of a connection that was idle."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        self._await(conn, conn.receive_head)

    def finish_request(self, conn: Connection, fs: Any) -> None:
        """Take a connection back from its thread; see `ThreadWorker.finish_request`.

        A connection that is to be closed stays until the client has closed it too: bytes that nobody has read would
        reset it, and the client might lose the response. gunicorn waits for that in the main thread, for up to 2 s.
        """
        self._in_threads -= 1
        if fs.cancelled() or fs.exception() or not fs.result():
            conn.end_response()
            self._await(conn, conn.drain)
        elif conn.has_head:
            self._proceed(conn)
        elif conn.head:
            conn.sock.settimeout(0)
            self._await(conn, conn.receive_head)
        else:
            super().finish_request(conn, fs)

    def murder_pending(self) -> None:
        """Close connections that have waited too long, and the oldest idle one if there is no room for another."""
        super().murder_pending()
        if self.nr_conns >= self.worker_connections or self._lacks_resources:
            self._close_oldest_idle()
        if self._lacks_resources:
            self._lacks_resources = False
            time.sleep(NO_RESOURCES_PAUSE_S)  # the listener stays readable

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def _await(self, conn: Connection, receive: Callable[[], bool]) -> None:
        """Call a function now, and whenever there is something to receive, until it returns True; then proceed."""
        if receive():
            self._proceed(conn)
            return

        def callback(client: socket.socket) -> None:
            if receive():
                self.poller.unregister(client)
                self.pending_conns.remove(conn)
                self._proceed(conn)

        conn.timeout = time.monotonic() + (self.head_timeout_s if self.alive else STOP_KEEPALIVE_LINGER)
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, callback)

    def _proceed(self, conn: Connection) -> None:
        if not conn.has_head:
            self.nr_conns -= 1
            conn.close()
        elif self._in_threads - len(self._staying) < self._threads_for_bodies or not conn.has_body():
            self._in_threads += 1
            self.enqueue_req(conn)
        else:
            response = make_response(HTTPStatus.SERVICE_UNAVAILABLE, request_id_of(bytes(conn.head)))
            with contextlib.suppress(OSError):
                conn.sock.send(response)  # the buffer of the kernel is empty
            conn.end_response()
            self._await(conn, conn.drain)

    def _close_oldest_idle(self) -> None:
        queues = ((self.pending_conns, self.head_timeout_s), (self.keepalived_conns, self.cfg.keepalive))
        oldest = [(conns[0].timeout - timeout_s, conns) for conns, timeout_s in queues if conns]
        if oldest:
            conn = min(oldest, key=operator.itemgetter(0))[1].popleft()
            self.poller.unregister(conn.sock)
            self.nr_conns -= 1
            conn.close()

    # In the thread of a request

    def handle(self, conn: Connection) -> Any:
        """Answer the requests of a connection; see `ThreadWorker.handle`."""
        self._current.conn = conn
        result = super().handle(conn)
        while result is True and self._has_next_request(conn):  # True: the connection stays open
            result = super().handle(conn)
        return result

    def _has_next_request(self, conn: Connection) -> bool:
        """Wait for the next request, unless another connection could need this thread."""
        is_complete = conn.take_pipelined()
        if is_complete or conn.head or not self.alive or self.nr_conns > self._threads_for_bodies:
            return is_complete and self.nr_conns <= self._threads_for_bodies
        self._staying.add(conn)
        try:
            return conn.receive_next_head(self.stay_ms / 1000)
        finally:
            self._staying.discard(conn)

    def handle_request(self, req: Any, conn: Connection) -> bool:
        """Answer a request, and return whether the connection stays open; see `ThreadWorker.handle_request`.

        gunicorn also calls hooks, measures times and restarts workers after a number of requests; nothing here needs
        that.
        """
        response, environ = wsgi.create(req, conn.sock, conn.client, conn.server, self.cfg, response_class=Response)
        environ["wsgi.multithread"] = True
        if not self.alive or len(self.keepalived_conns) >= self.max_keepalived:
            response.force_close()
        pieces = self.wsgi(environ, response.start_response)
        try:
            if isinstance(pieces, wsgi.FileWrapper):
                response.write_file(pieces)
            else:
                for piece in pieces:
                    response.write(piece)
            response.close()
        except OSError:
            raise
        except Exception:
            if not response.has_sent:
                raise
            self.log.exception("Error handling request")  # too late for another response
            return False
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
        return not response.should_close()

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:  # noqa: FBT001  # the signature of gunicorn
        """Discard a body that nobody read, if it has arrived; otherwise the connection is closed.

        gunicorn waits 5 s for it: a client that announces a body and does not send it would hold a thread for so long.
        """
        return keepalive and bool(conn.parser.finish_body(deadline=time.monotonic() + UNREAD_BODY_S))

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:  # noqa: ARG002
        """Answer a request that gunicorn could not parse, or that failed outside of the application.

        The log gets no part of it: a request line contains a query.
        """
        request_id = request_id_of(self._current.conn.request_head)
        status = status_of(exc)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id, client=addr[0] if addr else "")
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.error("Error handling request", exc_info=exc)
        else:
            self.log.warning("Invalid request: %s", type(exc).__name__)
        structlog.contextvars.clear_contextvars()
        with contextlib.suppress(OSError):
            util.write_nonblock(client, make_response(status, request_id))
