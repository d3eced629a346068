"""A cache of decoded images: a file of pixels that is mapped into memory.

So a data set may be larger than the memory, and further commands on it start at once. The operating system keeps in
memory what fits; docs/guides/train.md compares this with tf.data.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

import vision
from train.data.download import OnProgress
from train.data.examples import DecodedExamples, Example, Skipped
from train.data.image_loading import MAX_PIXELS, load
from train.data.whole_file import lock_folder, write_whole
from vision.card import InputSpec
from vision.decode import ImageError

OnBytes: TypeAlias = Callable[[int, int], None]
"""Receives the number of bytes decoded so far, and the total."""

BATCH = 256
"""Number of decoded images held in memory at a time."""


def decode_cached(
    part: Mapping[str, Example], spec: InputSpec, file: Path, on_progress: OnProgress
) -> tuple[DecodedExamples, list[Skipped]]:
    """Return the images with their pixels, read from the cache if it holds exactly these images, else decoded into it.

    Args:
        part: Images by the SHA-256 of their content.
        spec: The input specification to decode for.
        file: Path of the cache; a hash of images, specification and decoder is appended to its name.
        on_progress: Receives the number of bytes decoded.

    Returns:
        The decodable images in their original order, and the others.

    Raises:
        OSError: The cache cannot be written, or an image file does not exist any more.
    """
    pixels = file.with_name(f"{file.name}-{_cache_key(part, spec)}.pixels")
    with lock_folder(file.parent):  # another run of the same model may write the same cache, or another one
        if not pixels.exists():
            for outdated in file.parent.glob(f"{file.name}-*"):
                outdated.unlink()
            _write(part, spec, pixels, functools.partial(on_progress, f"decoding for {file.name}"))
        undecodable: dict[str, str] = json.loads(_undecodable_file(pixels).read_text(encoding="utf-8"))
        examples = [example for digest, example in part.items() if digest not in undecodable]
        images = _map_file(pixels, (len(examples), *spec.shape))
    skipped = [Skipped(part[digest].name, reason) for digest, reason in undecodable.items()]
    return DecodedExamples(examples, images, spec), skipped


def _cache_key(part: Mapping[str, Example], spec: InputSpec) -> str:
    parts = [dataclasses.asdict(spec), list(part), _decoder_version()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@functools.cache
def _decoder_version() -> str:
    """Identify the decoding code, since a change of it may change the pixels."""
    sources = sorted(Path(vision.__file__).parent.rglob("*.py"))
    code = b"".join(source.read_bytes() for source in sources)
    return f"{hashlib.sha256(code).hexdigest()} {cv2.__version__} {MAX_PIXELS}"


def _undecodable_file(pixels: Path) -> Path:
    return pixels.with_suffix(".json")


def _map_file(pixels: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    if not shape[0]:  # an empty file cannot be mapped
        return np.empty(shape, np.uint8)
    return np.asarray(np.memmap(pixels, np.uint8, "r", shape=shape))


def _write(part: Mapping[str, Example], spec: InputSpec, pixels: Path, on_bytes: OnBytes) -> None:
    with write_whole(pixels) as file:  # it ends last, so that an existing cache is always complete
        undecodable = _append_all(part, spec, file, on_bytes)
        with write_whole(_undecodable_file(pixels)) as reasons:
            reasons.write(json.dumps(undecodable).encode())


def _append_all(part: Mapping[str, Example], spec: InputSpec, file: BinaryIO, on_bytes: OnBytes) -> dict[str, str]:
    """Write the pixels of all decodable images; return the reasons for the others by their SHA-256."""
    digests, undecodable = list(part), {}
    total, done = sum(part[digest].size for digest in digests), 0
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(digests), BATCH):
            batch = digests[start : start + BATCH]
            images = pool.map(lambda digest: _load(part[digest], spec), batch)
            for digest, pixels in zip(batch, images, strict=True):
                if isinstance(pixels, ImageError):
                    undecodable[digest] = f"cannot be decoded: {pixels}"
                else:
                    file.write(pixels.tobytes())
                done += part[digest].size
                on_bytes(done, total)
    return undecodable


def _load(example: Example, spec: InputSpec) -> npt.NDArray[Any] | ImageError:
    try:
        return load(example.data, spec)
    except ImageError as error:
        return error
