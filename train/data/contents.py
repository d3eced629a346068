"""Contents of image files: checksum and perceptual hash, remembered so that unchanged files are not read again."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeAlias

import imagehash
from PIL import Image

from train.data.download import OnProgress
from train.data.examples import Example
from train.data.image_loading import load
from train.data.whole_file import lock_folder, write_whole
from vision.card import InputSpec
from vision.decode import ImageError

SETTLED_NS = 2_000_000_000
"""A file that changed less than two seconds before it was read is not remembered: a further change may leave its times
as they are, since file systems round them."""
VERSION = f"1 {imagehash.__version__}"
"""Another version of the remembered contents; others are not used."""
HASH_SPEC = InputSpec(height=32, width=32, color="GRAY", resize="stretch", interpolation="area")

Stamp: TypeAlias = tuple[int, int, int, int]
"""Size, times of modification and of the change of the file's record in nanoseconds, and number of a file."""


class Content(NamedTuple):
    """What a file contains.

    Attributes:
        sha256: SHA-256 of its bytes, hexadecimal.
        perceptual_hash: 64 bits that are similar for similar images; None if it cannot be decoded.
    """

    sha256: str
    perceptual_hash: int | None


def read_contents(
    examples: Sequence[Example], memory: Path, on_progress: OnProgress, now_ns: Callable[[], int] = time.time_ns
) -> list[Content | OSError]:
    """Return the content of each image; a file whose stamp is as remembered is not read.

    Args:
        examples: The images.
        memory: File of the remembered contents, which is replaced by those of `examples`.
        on_progress: Receives the number of bytes read.
        now_ns: Clock of the file system, in nanoseconds.

    Returns:
        The contents in the order of the images, and the errors of the files that cannot be read.

    Raises:
        OSError: `memory` cannot be written.
    """
    remembered = _load(memory)
    known: dict[str, tuple[Stamp, Content]] = {}
    contents: list[Content | OSError] = []
    bytes_read = 0
    with ThreadPoolExecutor() as pool:
        readings = pool.map(lambda example: _read(example, remembered, now_ns), examples)
        for example, reading in zip(examples, readings, strict=True):
            if isinstance(reading, OSError):
                contents.append(reading)
                continue
            contents.append(reading.content)
            if reading.stamp:
                known[str(example.source)] = reading.stamp, reading.content
            if reading.size:
                bytes_read += reading.size
                on_progress("reading images", bytes_read, None)
    if known != remembered:
        with lock_folder(memory.parent), write_whole(memory) as file:
            file.write(json.dumps({"version": VERSION, "files": known}).encode())
    return contents


def hash_perceptually(data: bytes) -> int | None:
    """Return pHash of an image file (http://www.phash.org), by `imagehash`; None if it cannot be decoded."""
    try:
        pixels = load(data, HASH_SPEC)
    except ImageError:
        return None
    return int(str(imagehash.phash(Image.fromarray(pixels[..., 0]))), 16)


class _Reading(NamedTuple):
    """A content, the number of bytes that were read for it, and the stamp to remember it by, if any."""

    content: Content
    size: int
    stamp: Stamp | None


def _read(
    example: Example, remembered: Mapping[str, tuple[Stamp, Content]], now_ns: Callable[[], int]
) -> _Reading | OSError:
    try:
        if not isinstance(example.source, Path):
            return _Reading(_examine(example.source), len(example.source), None)
        before = _stamp(example.source)
        stamp, content = remembered.get(str(example.source), (None, None))
        if content and stamp == before:
            return _Reading(content, 0, stamp)
        started_ns = now_ns()
        data = example.data
        is_settled = before == _stamp(example.source) and max(before[1:3]) < started_ns - SETTLED_NS
        return _Reading(_examine(data), len(data), before if is_settled else None)
    except OSError as error:
        return error


def _examine(data: bytes) -> Content:
    return Content(sha256(data).hexdigest(), hash_perceptually(data))


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _load(memory: Path) -> dict[str, tuple[Stamp, Content]]:
    """Return the remembered contents by path; none if the file is missing, damaged, or of another version."""
    try:
        document = json.loads(memory.read_bytes())
        if document["version"] != VERSION:
            return {}
        return {path: (tuple(stamp), Content(*content)) for path, (stamp, content) in document["files"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
