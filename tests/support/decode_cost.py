"""Measure what decoding a file costs: memory, processor time, and the size of the result.

    python -m tests.support.decode_cost MAX_PIXELS < frames

Each frame is a line with a number of bytes, and then the bytes of a file. The answer is a line of JSON. Every file is
decoded in a child process, whose address space grows from zero again, so that its peak is that of one file.
"""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2

from tools.processes import status_field
from vision import pillow_decoder  # noqa: F401  # loaded before measuring, as in a decoder process
from vision.decode import ImageError, decode, inspect

ROOT = Path(__file__).parents[2]
MAX_ADDRESS_SPACE_BYTES = 3 << 30  # beyond that of the libraries, so that the measuring is safe itself
MAX_CPU_S = 60


@dataclass(frozen=True, slots=True)
class Cost:
    """What one file costs.

    Attributes:
        outcome: "decoded", the type of an `ImageError`, or "crashed".
        size: Height and width of the result, as stored or turned.
        declared: Height and width in the header.
        peak_bytes: How far the address space grew.
        declared_bytes: `Header.peak_bytes`, and the file itself; 0 if there is no header.
        is_plain: `Header.is_plain`.
        is_cropped: Whether the result is a part of the image.
        header_cpu_s: Processor time of reading the header.
        cpu_s: Processor time of everything.
    """

    outcome: str
    size: tuple[int, int] = (0, 0)
    declared: tuple[int, int] = (0, 0)
    peak_bytes: int = 0
    declared_bytes: int = 0
    is_plain: bool = False
    is_cropped: bool = False
    header_cpu_s: float = 0
    cpu_s: float = 0


class CostMeter:
    """A process that measures one file after another."""

    def __init__(self, *, max_pixels: int) -> None:
        # Without a retained heap, every large block that a child takes is seen.
        environ = os.environ | {
            "OPENCV_IO_MAX_IMAGE_PIXELS": str(max_pixels),
            "MALLOC_MMAP_THRESHOLD_": "131072",
            "MALLOC_ARENA_MAX": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.decode_cost", str(max_pixels)],
            cwd=ROOT,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def close(self) -> None:
        self._process.communicate()

    def measure(self, data: bytes) -> Cost:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"%d\n" % len(data) + data)
        self._process.stdin.flush()
        members = json.loads(self._process.stdout.readline())
        return Cost(**{name: tuple(value) if isinstance(value, list) else value for name, value in members.items()})


def main(max_pixels: int) -> None:
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    while line := sys.stdin.buffer.readline():
        data = sys.stdin.buffer.read(int(line))
        sys.stdout.write(measure(data, max_pixels) + "\n")
        sys.stdout.flush()


def measure(data: bytes, max_pixels: int) -> str:
    """Decode in a child process and return its answer."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(sender, json.dumps(cost_of(data, max_pixels)).encode())
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as answer:
        text = answer.read()
    _, _, usage = os.wait4(child, 0)
    crashed = {"outcome": "crashed", "cpu_s": usage.ru_utime + usage.ru_stime}
    return text or json.dumps(crashed)


def cost_of(data: bytes, max_pixels: int) -> dict[str, object]:
    start_bytes = address_space("VmSize")
    resource.setrlimit(resource.RLIMIT_AS, (start_bytes + MAX_ADDRESS_SPACE_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_S,) * 2)
    start_s = time.process_time()
    cost: dict[str, object] = {"outcome": "decoded"}
    try:
        header = inspect(data, max_pixels=max_pixels)
        cost |= {
            "header_cpu_s": time.process_time() - start_s,
            "declared": (header.height, header.width),
            "declared_bytes": header.peak_bytes + len(data),
            "is_plain": header.is_plain,
            "is_cropped": header.crop is not None,
        }
        if not header.is_plain:  # a decoder process may take no more
            resource.setrlimit(resource.RLIMIT_AS, (address_space("VmSize") + header.peak_bytes,) * 2)
        cost["size"] = decode(data, max_pixels=max_pixels, header=header).shape[:2]
    except ImageError as error:
        cost["outcome"] = type(error).__name__
    return cost | {"cpu_s": time.process_time() - start_s, "peak_bytes": address_space("VmPeak") - start_bytes}


def address_space(name: str) -> int:
    """Return a size of the address space of this process, in bytes."""
    return status_field(os.getpid(), name) * 1024


if __name__ == "__main__":
    main(int(sys.argv[1]))
