"""Requests that were made to cost the service more than their share of memory, processor, time or places."""

import contextlib
import http.client
import json
import mimetypes
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench import hostile_files
from bench.images import multipart, photo
from gateway.settings import Settings

PREDICT = "/api/v1/predict"
BODY_BYTES = Settings.from_env({}).max_body_bytes
"""The default of GATEWAY_MAX_BODY_BYTES."""
BATCH = 64
NO_ANSWER = "no answer"
ANSWER_TIMEOUT_S = 40.0
HOLD_S = 5.0
_NOT_SENT = frozenset({".md", ".py", ".txt"})
_JSON, _FORM, _BINARY = "application/json", "application/x-www-form-urlencoded", "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a client connects to, and the address that it has itself."""

    host: str
    port: int
    source: str = "127.0.0.1"

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection, not opened yet."""
        return http.client.HTTPConnection(
            self.host, self.port, timeout=ANSWER_TIMEOUT_S, source_address=(self.source, 0)
        )


class Attack(Protocol):
    """One request, or several of one kind."""

    @property
    def name(self) -> str:
        """What is sent, in a few words."""

    @property
    def group(self) -> str:
        """Name of the attacks that are counted together with this one; empty for none."""

    def send(self, address: Address) -> str:
        """Send it, wait for the answer, and return what came back."""


@dataclass(frozen=True, slots=True)
class RequestAttack:
    """A complete request."""

    name: str
    body: bytes
    content_type: str = _BINARY
    path: str = PREDICT
    group: str = ""

    def send(self, address: Address) -> str:
        """Return the status and the problem, or `NO_ANSWER`."""
        return post(address, self.path, self.body, self.content_type)


@dataclass(frozen=True, slots=True)
class HeldConnections:
    """Connections that send the beginning of a request and stay open."""

    name: str
    beginning: bytes
    connections: int
    group: str = ""

    def send(self, address: Address) -> str:
        """Hold the connections for `HOLD_S`; return how many of them the service has closed by then."""
        with contextlib.ExitStack() as stack:
            held = []
            for _ in range(self.connections):
                with contextlib.suppress(OSError):
                    connection = socket.create_connection(
                        (address.host, address.port), 2, source_address=(address.source, 0)
                    )
                    held.append(stack.enter_context(connection))
                    connection.sendall(self.beginning)
            time.sleep(HOLD_S)
            closed = sum(map(is_closed, held))
        return f"{closed} of {len(held)} closed" if held else NO_ANSWER


def is_closed(connection: socket.socket) -> bool:
    """Return whether the other side has closed a connection, perhaps after an answer."""
    connection.setblocking(False)  # noqa: FBT003  # the signature is socket's
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def post(address: Address, path: str, body: bytes, content_type: str) -> str:
    """Send a request; return the status and the name of the problem, or `NO_ANSWER`."""
    with contextlib.closing(address.connect()) as connection:
        try:
            # With an early refusal the rest cannot be sent, but the answer can be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", path, body, {"Content-Type": content_type})
            response = connection.getresponse()
            document = json.loads(response.read())
        except (OSError, http.client.HTTPException):
            return NO_ANSWER
        except ValueError:
            return f"{response.status} without JSON"
    problem = str(document.get("type", "")).rpartition("/")[2] if isinstance(document, dict) else ""
    return f"{response.status} {problem}".strip()


def make_attacks(pictures: str, folders: Sequence[Path]) -> list[Attack]:
    """Return all attacks.

    Args:
        pictures: URL of `bench.hostile_pictures`.
        folders: Folders of further files to send, each as a picture.
    """
    return [
        *_option_attacks(),
        *_body_attacks(),
        *_picture_attacks(),
        *_large_picture_attacks(),
        *_url_attacks(pictures),
        *_connection_attacks(),
        *(attack for folder in folders for attack in _file_attacks(folder)),
    ]


def _file_attacks(folder: Path) -> Iterator[Attack]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix not in _NOT_SENT:
            kind = mimetypes.guess_type(file)[0] or _BINARY
            yield RequestAttack(file.name, file.read_bytes(), kind, group=f"files in {folder.name}")


def _option_attacks() -> Iterator[Attack]:
    digits = "1" * 100_000 + "x"
    yield RequestAttack(
        "threshold of 100,000 digits and a letter", _json({"image": "AAAA", "threshold": digits}), _JSON
    )
    yield RequestAttack("threshold of 3,900 digits in the query", b"x", path=f"{PREDICT}?threshold={'1' * 3900}x")
    yield RequestAttack("threshold of 1 MB in a form", b"threshold=" + b"1" * 1_000_000 + b"x", _FORM)
    yield RequestAttack("number of 10 MB", b'{"image":' + b"1" * (BODY_BYTES - 100) + b"}", _JSON)


def _body_attacks() -> Iterator[Attack]:
    letters = b"abcdefghijklmnopqrstuvwxyz0123456789" * (BODY_BYTES // 36 - 1)
    hyphens = b"-" * (BODY_BYTES - 100)
    for length in (70, 7000):
        boundary = "-" * (length - 1) + "b"
        name = f"multipart of 10 MB of hyphens, boundary of {length}"
        yield RequestAttack(name, hyphens, f"multipart/form-data; boundary={boundary}")
    yield RequestAttack("form of 10 MB of %41", b"image=" + b"%41" * (BODY_BYTES // 3 - 3), _FORM)
    yield RequestAttack("form of 10 MB of %f1", b"image=" + b"%f1" * (BODY_BYTES // 3 - 3), _FORM)
    yield RequestAttack("form of 5 million fields", b"&" * (BODY_BYTES // 2) + b"image=x", _FORM)
    yield RequestAttack("form with a name of 10 MB", letters + b"=1", _FORM)
    yield RequestAttack("JSON with a name of 10 MB", b'{"' + letters + b'":1}', _JSON)
    yield RequestAttack("JSON of 10 MB of spaces", b" " * (BODY_BYTES - 100) + b"{}", _JSON)
    yield RequestAttack("JSON of 3 million objects", b'{"instances":[' + b"{}," * 3_000_000 + b"{}]}", _JSON)
    yield RequestAttack("JSON of 5 million brackets", b'{"image":' + b"[" * 5_000_000, _JSON)
    yield RequestAttack("JSON of escapes", b'{"image":"' + b"\\u0041" * 1_700_000 + b'"}', _JSON)
    part = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n\r\n'
    yield RequestAttack("multipart of 100,000 parts", part * 100_000 + b"--b--", "multipart/form-data; boundary=b")


def _picture_attacks() -> Iterator[Attack]:
    side = f"{hostile_files.SIDE} x {hostile_files.SIDE}"
    for kind in (b"IDAT", b"PLTE"):
        body = hostile_files.png_with_a_chunk_behind_its_end(kind)
        yield RequestAttack(f"PNG of {len(body)} bytes, {kind.decode()} of 4 GiB behind its end", body, "image/png")
    for name, body, content_type in (
        (f"PNG of 16 bits, {side}", hostile_files.png(), "image/png"),
        ("TIFF without a width of tiles", hostile_files.tiff(153, 55, 1_700_000), "image/tiff"),
        (f"AVIF, {side}", hostile_files.avif(), "image/avif"),
        ("AVIF with 100 hidden frames", hostile_files.avif(100), "image/avif"),
        ("AVIF with 4,000 hidden frames", hostile_files.avif(4000), "image/avif"),
        (f"JPEG of 99 scans, {side}", hostile_files.jpeg_of_many_scans(), "image/jpeg"),
        (f"JPEG of 5,000 scans, {side}", hostile_files.jpeg_of_many_scans(scans=5000), "image/jpeg"),
        (f"BMP, {side}", hostile_files.bmp(), "image/bmp"),
        ("JPEG photo of 12 megapixels", photo(4000, 3000), "image/jpeg"),
    ):
        yield RequestAttack(name, body, content_type)


def _large_picture_attacks() -> Iterator[Attack]:
    """Yield images that are small enough to be decoded, which takes as much memory or time as one request can."""
    for side in (1500, 3000):
        for extension in (".avif", ".gif", ".jpg", ".tif", ".webp"):
            body = hostile_files.flat(extension, side)
            yield RequestAttack(f"black {extension[1:]}, {side} x {side}, {len(body) // 1000} kB", body)
        yield RequestAttack(f"PNG of 16 bits, {side} x {side}", hostile_files.png(side, side), "image/png")
    tiny_png = hostile_files.png(8, 8)
    for name, file in (
        ("GIF of 8 x 8", hostile_files.flat(".gif", 8)),
        (f"PNG of 16 bits, {len(tiny_png)} bytes", tiny_png),
    ):
        content_type, body = multipart([file] * BATCH)
        yield RequestAttack(f"{BATCH} {name}", body, content_type)
    content_type, body = multipart([hostile_files.flat(".jpg", 3000)] * BATCH)
    for query, text in (("", ""), ("?explain=true", ", to be explained")):
        yield RequestAttack(f"{BATCH} JPEG of 9 megapixels{text}", body, content_type, f"{PREDICT}{query}")
    chunked = b"POST /api/v1/predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield HeldConnections("4 bodies in 500,000 chunks of a byte", chunked + b"1\r\nx\r\n" * 500_000, 4)


def _url_attacks(pictures: str) -> Iterator[Attack]:
    for kind in ("hang", "drip", "big", "endless"):
        instances = [{"url": f"{pictures}/{kind}/{number}"} for number in range(BATCH)]
        yield RequestAttack(f"{BATCH} URLs of a server, {kind}", _json({"instances": instances}), _JSON)
    for kind in ("endless", "negative", "length", "hints"):
        yield RequestAttack(f"URL of a server, {kind}", _json({"url": f"{pictures}/{kind}"}), _JSON)
    names = [{"url": f"http://n{number}.bench.invalid/"} for number in range(BATCH)]
    yield RequestAttack(f"{BATCH} URLs of names that do not exist", _json({"instances": names}), _JSON)


def _connection_attacks() -> Iterator[Attack]:
    line = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
    head = f"{line}Content-Length: {BODY_BYTES}\r\n\r\n".encode()
    yield HeldConnections("300 connections with half a head", head[:60], 300)
    yield HeldConnections("300 connections without a body", head, 300)
    yield HeldConnections("20 bodies of 10 MB that never end", head + bytes(BODY_BYTES - 1000), 20)


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document).encode()
