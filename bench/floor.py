"""Decode and resize an image in a bare loop: `python -m bench.floor FILE SIDE SECONDS`.

No service can prepare an image with less CPU time.
"""

import sys
import time
from pathlib import Path

import cv2

from bench import images
from gateway.runtime.malloc import bound_memory


def main(path: Path, side: int, seconds: float) -> None:
    """Print the number of images prepared and the CPU seconds used."""
    cv2.setNumThreads(1)
    bound_memory()  # as the gateway does; with glibc's defaults page faults double the time of the loop
    data = path.read_bytes()
    images.pixels(data, side)
    number, started_s, end_s = 0, time.process_time(), time.monotonic() + seconds
    while time.monotonic() < end_s:
        images.pixels(data, side)
        number += 1
    print(number, time.process_time() - started_s)  # noqa: T201  # read by bench.measure


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
