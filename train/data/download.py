"""Fetch published files: checked, continued where an earlier try broke off, and never half there."""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import requests

from train.errors import TrainError

TRIES_PER_URL = 3
TIMEOUT_S = (10.0, 30.0)  # to connect, and between two pieces
CHUNK_BYTES = 1 << 16
GZIP_MAGIC = b"\x1f\x8b"

OnProgress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes there so far, and the bytes of the whole or None if unknown."""


class DownloadError(TrainError):
    """No URL gave the file; one line for each of them."""


def read_content(path: Path) -> bytes:
    """Read a file, unpacked if it is gzip: told by its first bytes, for a server may unpack what it sends.

    Raises:
        OSError: It cannot be read, or is damaged gzip.
    """
    raw = path.read_bytes()
    if not raw.startswith(GZIP_MAGIC):
        return raw
    try:
        return gzip.decompress(raw)
    except (EOFError, zlib.error) as error:
        raise gzip.BadGzipFile(f"{path}: {error}") from error


def download(path: Path, urls: Sequence[str], sha256: str, on_progress: OnProgress) -> None:
    """Bring one file to `path`, which exists only once its content has been checked.

    What has arrived is kept beside it, one partial file per URL, and continued with a range request
    (RFC 9110, section 14), in this call or a later one.

    Args:
        path: Where the file shall be; its folder exists.
        urls: Where it can be had, tried in this order.
        sha256: Of the file or, if it is gzip, of what it holds: publishers give the one or the other.
        on_progress: Told about every piece.

    Raises:
        DownloadError: No URL gave it.
        OSError: It cannot be written.
    """
    failures = []
    for url in urls:
        partial = path.with_name(f"{path.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part")
        try:
            _fetch_checked(url, partial, sha256, on_progress)
        except (requests.RequestException, _WrongContentError) as error:
            failures.append(f"  {url}: {error}")
        else:
            partial.replace(path)
            return
    raise DownloadError(f"{path.name} could not be downloaded:\n" + "\n".join(failures))


class _WrongContentError(Exception):
    pass


def _fetch_checked(url: str, partial: Path, sha256: str, on_progress: OnProgress) -> None:
    continued = partial.exists()
    _fetch(url, partial, on_progress)
    if _digest(partial.read_bytes()) == sha256:
        return
    found = _digest_or_fault(partial)
    if found == sha256:
        return
    partial.unlink()
    if not continued:
        raise _WrongContentError(f"expected content of SHA-256 {sha256}, found {found}")
    # The file may have changed since the first part of it came.
    _fetch_checked(url, partial, sha256, on_progress)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_or_fault(path: Path) -> str:
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
            return  # Nothing comes after what is there; the checksum tells whether it is the file.
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            done = 0  # This server sends everything again.
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with partial.open("ab" if done else "wb") as file:
            for piece in response.iter_content(CHUNK_BYTES):
                file.write(piece)
                done += len(piece)
                on_progress(partial.name.rsplit(".", 2)[0], done, total)
