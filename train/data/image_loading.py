"""Image files of data sets -> model inputs. Plain files are decoded here, others in decoder processes."""

import functools
import os
import threading
import time
from contextlib import nullcontext
from typing import Any

import numpy.typing as npt

from vision import preprocess
from vision.card import InputSpec
from vision.decode import inspect
from vision.isolation.pool import DecoderPool

MAX_PIXELS = 200_000_000
"""Largest image of a data set: that of the largest sensors in phones."""
LARGE_PIXELS = 50_000_000
"""Larger images are decoded one at a time, since a decoder may take eight bytes a pixel."""
DECODE_S = 60.0
"""Time for one image that is decoded in a process, including the time that it waits for one."""
MAX_MEMORY_BYTES = 4 << 30
_large_image = threading.Lock()


def load(data: bytes, spec: InputSpec) -> npt.NDArray[Any]:
    """Turn an image file into one model input; see `vision.preprocess.load`.

    Raises:
        ImageError: As raised by `vision.preprocess.load`, or the file takes too long to decode or crashes the decoder.
        DecoderUnavailableError: No decoder process was free in time, or the kernel ended it for lack of memory.
    """
    header = inspect(data, max_pixels=MAX_PIXELS)
    with _large_image if header.width * header.height > LARGE_PIXELS else nullcontext():
        if header.is_plain:
            return preprocess.load(data, spec, max_pixels=MAX_PIXELS, header=header)
        deadline_s = time.monotonic() + DECODE_S
        return _decoders().load(data, spec, memory_bytes=preprocess.weigh(header, spec), deadline_s=deadline_s)


@functools.cache
def _decoders() -> DecoderPool:
    return DecoderPool(processes=os.cpu_count() or 1, max_memory_bytes=MAX_MEMORY_BYTES, max_pixels=MAX_PIXELS)
