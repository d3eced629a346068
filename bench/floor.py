"""The floor: decode and resize in a bare loop, in a process of its own: `python -m bench.floor FILE SIDE SECONDS`."""

import sys
import time
from pathlib import Path

import cv2

from bench import pictures
from gateway.runtime.malloc import bound_memory


def main(path: Path, side: int, seconds: float) -> None:
    """Print how many pictures were prepared, and the CPU seconds that took."""
    cv2.setNumThreads(1)
    bound_memory()  # as the gateway does: with glibc's defaults the loop takes twice as long, for page faults
    data = path.read_bytes()
    pictures.pixels(data, side)
    done, started_s, end_s = 0, time.process_time(), time.monotonic() + seconds
    while time.monotonic() < end_s:
        pictures.pixels(data, side)
        done += 1
    print(done, time.process_time() - started_s)  # noqa: T201  # for the process that asked


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
