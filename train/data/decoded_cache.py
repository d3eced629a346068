"""Pictures as model inputs, each decoded once: kept in a file that is mapped into memory, not read into it.

So a set may be larger than the memory, and a further command on it starts at once. What there is memory for, the
operating system keeps there; docs/train.md compares this with tf.data.
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
from train.data.examples import MAX_PIXELS, Decoded, Example, LeftOut
from vision.card import InputSpec
from vision.decode import ImageError
from vision.preprocess import load

OnBytes: TypeAlias = Callable[[int, int], None]

BATCH = 256
"""So many pictures are in memory at once."""


def decode_once(
    part: Mapping[str, Example], spec: InputSpec, file: Path, on_progress: OnProgress
) -> tuple[Decoded, list[LeftOut]]:
    """Give pictures with their pixels, from `file` if it was made of the same ones, else it is made anew.

    Args:
        part: Pictures by the SHA-256 of their content.
        spec: What the pixels are made for.
        file: Where they are kept; a suffix that says what they were made of is appended.
        on_progress: Told about the bytes of the pictures decoded.

    Returns:
        The pictures that can be decoded, in the order they had, and the others.

    Raises:
        OSError: The file cannot be written, or a picture is gone.
    """
    pixels = file.with_name(f"{file.name}-{_key(part, spec)}.pixels")
    if not pixels.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        for older in file.parent.glob(f"{file.name}-*"):
            older.unlink()
        _write(part, spec, pixels, functools.partial(on_progress, f"decoding for {file.name}"))
    unreadable: dict[str, str] = json.loads(_faults(pixels).read_text(encoding="utf-8"))
    examples = [example for digest, example in part.items() if digest not in unreadable]
    left_out = [LeftOut(part[digest].name, reason) for digest, reason in unreadable.items()]
    return Decoded(examples, _mapped(pixels, (len(examples), *spec.shape)), spec), left_out


def _key(part: Mapping[str, Example], spec: InputSpec) -> str:
    made_of = [dataclasses.asdict(spec), list(part), _decoder()]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]


@functools.cache
def _decoder() -> str:
    """Tell which code decodes: a change of it must change the pixels that are learnt from."""
    sources = sorted(Path(vision.__file__).parent.rglob("*.py"))
    code = b"".join(source.read_bytes() for source in sources)
    return f"{hashlib.sha256(code).hexdigest()} {cv2.__version__} {MAX_PIXELS}"


def _faults(pixels: Path) -> Path:
    return pixels.with_suffix(".json")


def _mapped(pixels: Path, shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    if not shape[0]:  # an empty file cannot be mapped
        return np.empty(shape, np.uint8)
    return np.asarray(np.memmap(pixels, np.uint8, "r", shape=shape))


def _write(part: Mapping[str, Example], spec: InputSpec, pixels: Path, on_bytes: OnBytes) -> None:
    unfinished = pixels.with_suffix(".part")
    try:
        with unfinished.open("wb") as file:
            unreadable = _append_all(part, spec, file, on_bytes)
        _faults(pixels).write_text(json.dumps(unreadable), encoding="utf-8")
        unfinished.rename(pixels)  # last, for where it is, all of it is
    finally:
        unfinished.unlink(missing_ok=True)


def _append_all(part: Mapping[str, Example], spec: InputSpec, file: BinaryIO, on_bytes: OnBytes) -> dict[str, str]:
    """Write the pixels of what can be decoded; return why the others cannot, by their SHA-256."""
    digests, unreadable = list(part), {}
    total, done = sum(part[digest].size for digest in digests), 0
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(digests), BATCH):
            batch = digests[start : start + BATCH]
            loaded = pool.map(lambda digest: _load(part[digest], spec), batch)
            for digest, pixels in zip(batch, loaded, strict=True):
                if isinstance(pixels, ImageError):
                    unreadable[digest] = f"cannot be decoded: {pixels}"
                else:
                    file.write(pixels.tobytes())
                done += part[digest].size
                on_bytes(done, total)
    return unreadable


def _load(example: Example, spec: InputSpec) -> npt.NDArray[Any] | ImageError:
    try:
        return load(example.data, spec, max_pixels=MAX_PIXELS)
    except ImageError as error:
        return error
