"""A real nginx in front of an upstream that records its requests; and the whole stack, as `make run` starts it."""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.stack import listens
from tests.support.waiting import until
from tools import nginx
from tools.ports import find

ROOT = Path(__file__).parents[3]
PATIENCE_S = 20
START_PATIENCE_S = 90  # TensorFlow is imported, on a machine that may be busy


class Upstream(ThreadingHTTPServer):
    """Takes the gateway's place, and records its requests; a path such as /slow selects the response."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), UpstreamHandler)
        self.requests = []
        self.connections = 0
        self.release_slow = threading.Event()

    def get_request(self):
        self.connections += 1
        return super().get_request()


class UpstreamHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append({"line": self.requestline, "headers": dict(self.headers), "bytes": len(body)})
        path = self.path.partition("?")[0]
        getattr(self, f"answer_{path.strip('/')}", self.answer_echo)()

    do_POST = do_GET  # noqa: N815  # the base class looks for this name

    def answer_echo(self):
        self.send(200, {"line": self.requestline, "headers": dict(self.headers)})

    def answer_problem(self):
        body = {"type": "/problems/model-unavailable", "status": 503}
        self.send(503, body, {"Content-Type": "application/problem+json", "Retry-After": "9"})

    def answer_failed(self):
        self.send(502, {"type": "/problems/model-failed"}, {"Content-Type": "application/problem+json"})

    def answer_secure(self):
        own = {"X-Content-Type-Options": "nosniff", "X-Request-ID": "of-the-upstream", "X-Frame-Options": "DENY"}
        self.send(200, {}, own | {"Content-Security-Policy": "default-src 'self'"})

    def answer_long(self):
        self.send(200, {"text": "digit " * 1000})

    def answer_slow(self):
        self.server.release_slow.wait(PATIENCE_S)
        self.send(200, {})

    def answer_break(self):
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def send(self, status, body, headers=None):
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Log nothing."""


@dataclass
class Response:
    """A response with all its headers, repeated ones included."""

    status: int
    headers: list
    body: bytes

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name):
        (value,) = self.all(name)
        return value

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Nginx:
    """A running nginx, and a client for it."""

    port: int
    folder: Path
    process: subprocess.Popen
    upstream: Upstream | None = None

    @contextmanager
    def connected(self, source="127.0.0.1"):
        """Yield a function that sends requests over one connection, which one of nginx's workers serves."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S, source_address=(source, 0))
        try:
            yield partial(self.request_over, connection)
        finally:
            connection.close()

    def request(self, path, *, source="127.0.0.1", **options):
        with self.connected(source) as request:
            return request(path, **options)

    def request_over(self, connection, path, *, method="GET", body=None, headers=None):
        connection.request(method, path, body=body, headers=headers or {})
        return self.read(connection.getresponse())

    def send_bytes(self, content):
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as connection:
            connection.sendall(content)
            response = http.client.HTTPResponse(connection)
            response.begin()
            return self.read(response)

    @staticmethod
    def read(response):
        return Response(response.status, response.getheaders(), response.read())

    def log(self):
        return (self.folder / "nginx.log").read_text(encoding="utf-8")


@pytest.fixture
def upstream():
    with Upstream() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.release_slow.set()
        server.shutdown()
        thread.join()


@contextmanager
def running_nginx(folder, values, listen_suffix="") -> Iterator[Nginx]:
    """Run nginx with values for the template of its configuration."""
    executable = nginx.find()
    if executable is None:
        pytest.skip("nginx is not installed")
    (port,) = find(1)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        nginx.render({"NGINX_LISTEN": f"127.0.0.1:{port}{listen_suffix}", **values}), encoding="utf-8"
    )
    with (folder / "nginx.log").open("ab") as log:
        process = subprocess.Popen(
            nginx.command(executable, configuration), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    with process:
        try:
            until(lambda: listens(port) or process.poll() is not None, PATIENCE_S)
            yield Nginx(port, folder, process)
        finally:
            process.terminate()


@pytest.fixture
def start_nginx(tmp_path, upstream):
    """Return a function that starts nginx in front of the upstream, with values for its template."""

    @contextmanager
    def start(listen_suffix="", **values):
        upstream_address = f"127.0.0.1:{upstream.server_address[1]}"
        with running_nginx(tmp_path, {"NGINX_UPSTREAM": upstream_address, **values}, listen_suffix) as front:
            front.upstream = upstream
            yield front

    return start


@pytest.fixture
def front(start_nginx):
    with start_nginx() as front:
        yield front


# The whole stack, as `make run` starts it


@dataclass
class Run:
    """A running `python -m tools.run`."""

    process: subprocess.Popen
    folder: Path
    ports: dict

    @property
    def url(self):
        return f"http://localhost:{self.ports['PORT']}"

    def output(self):
        return (self.folder / "output").read_text(encoding="utf-8")

    def wait_for_output(self, text):
        until(lambda: text in self.output() or self.process.poll() is not None, START_PATIENCE_S)
        assert text in self.output()

    def wait_ready(self):
        self.wait_for_output("Stop    Ctrl-C")

    def descendants(self):
        """Return the command lines of its direct and indirect child processes by process id."""
        ps = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=True)
        rows = [line.split(None, 2) for line in ps.stdout.splitlines()]
        commands, family = {}, {str(self.process.pid)}
        for pid, parent, command in sorted(rows, key=lambda row: int(row[0])):
            if parent in family:
                family.add(pid)
                commands[int(pid)] = command
        return commands

    def process_of(self, text):
        """Return the process id of the program, not of its workers, whose command line contains a text."""
        return min(pid for pid, command in self.descendants().items() if text in command)


@pytest.fixture
def start_run(tmp_path):
    """Return a function that starts the stack with the committed models on free ports, in a separate folder."""

    @contextmanager
    def start(name, *extra):
        folder = tmp_path / name
        folder.mkdir()
        ports = dict(zip(("PORT", "GATEWAY_PORT", "GRPC_PORT", "REST_PORT"), find(4), strict=True))
        options = [f"--{variable.lower().replace('_', '-')}={port}" for variable, port in ports.items()]
        with (folder / "output").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "tools.run", *options, f"--run-dir={folder / 'run'}", *extra],
                cwd=ROOT,
                env={**os.environ, "GATEWAY_WORKERS": "2"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with process:
            try:
                yield Run(process, folder, ports)
            finally:
                process.terminate()

    return start
