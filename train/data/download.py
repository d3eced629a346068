"""Downloads published files: checked, resumed after an interruption, and visible only when complete."""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import requests

from train.errors import TrainError

TRIES_PER_URL = 3
TIMEOUT_S = (10.0, 30.0)  # to connect, and between two chunks
CHUNK_BYTES = 1 << 16
GZIP_MAGIC = b"\x1f\x8b"

OnProgress: TypeAlias = Callable[[str, int, int | None], None]
"""Receives the file's name, the number of bytes so far, and the total or None if it is unknown."""


class DownloadError(TrainError):
    """A file that no URL provided; the message has one line for each URL."""


def read_content(path: Path) -> bytes:
    """Read a file and decompress gzip, detected by its magic number, since servers may decompress what they send.

    Raises:
        OSError: The file cannot be read, or is damaged gzip.
    """
    raw = path.read_bytes()
    if not raw.startswith(GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, zlib.error) as error:
        raise gzip.BadGzipFile(f"{path}: {error}") from error


def download(path: Path, urls: Sequence[str], sha256: str, on_progress: OnProgress) -> None:
    """Download one file to `path`, which exists only after its content has been checked.

    Incomplete downloads stay beside it, one partial file per URL, and are resumed by a range request
    (RFC 9110, section 14), in this call or a later one.

    Args:
        path: Path of the file; its folder exists.
        urls: Sources of the file, tried in this order.
        sha256: Checksum of the file or, if it is gzip, of its content: publishers state either.
        on_progress: Called after each chunk.

    Raises:
        DownloadError: No URL provided the file.
        OSError: The file cannot be written.
    """
    failures = []
    for url in urls:
        partial = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
        try:
            _fetch_checked(url, partial, sha256, on_progress)
        except (requests.RequestException, _ChecksumError) as error:
            failures.append(f"  {url}: {error}")
        else:
            partial.replace(path)
            return
    raise DownloadError(f"{path.name} could not be downloaded:\n" + "\n".join(failures))


class _ChecksumError(Exception):
    pass


def _fetch_checked(url: str, partial: Path, sha256: str, on_progress: OnProgress) -> None:
    resumed = partial.exists()
    _fetch(url, partial, on_progress)
    if _digest(partial.read_bytes()) == sha256:
        return
    content_digest = _content_digest(partial)
    if content_digest == sha256:
        return
    partial.unlink()
    if not resumed:
        raise _ChecksumError(f"expected content of SHA-256 {sha256}, found {content_digest}")
    # The file may have changed on the server since its first part was downloaded.
    _fetch_checked(url, partial, sha256, on_progress)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _content_digest(path: Path) -> str:
    try:
        return _digest(read_content(path))
    except gzip.BadGzipFile as error:
        return f"damaged gzip ({error})"


def _fetch(url: str, partial: Path, on_progress: OnProgress) -> None:
    for tries_left in reversed(range(TRIES_PER_URL)):
        try:
            _fetch_rest(url, partial, on_progress)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
            if not tries_left:
                raise
        else:
            return


def _fetch_rest(url: str, partial: Path, on_progress: OnProgress) -> None:
    done = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if done and response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # The server has nothing after these bytes; the checksum decides whether the file is complete.
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            done = 0  # This server ignores ranges and sends the whole file.
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with partial.open("ab" if done else "wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                on_progress(partial.name.rsplit(".", 2)[0], done, total)
