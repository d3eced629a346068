"""Decode image files in a process with limited memory, and print one line of JSON per file.

    python -m tests.support.decode_files MAX_PIXELS HEADROOM_MIB < paths

A file that takes longer than the alarm, or crashes a decoder, ends the process; the last line names the file before it.
"""

import json
import resource
import signal
import sys
import time
from pathlib import Path

import cv2

from vision.decode import ImageError, decode

ALARM_S = 20


def main(max_pixels: int, headroom_mib: int) -> None:
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + headroom_mib * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        path = line.rstrip("\n")
        data = Path(path).read_bytes()
        signal.alarm(ALARM_S)  # its default action ends the process
        sys.stdout.write(json.dumps({"path": path, **outcome(data, max_pixels)}) + "\n")
        sys.stdout.flush()


def outcome(data: bytes, max_pixels: int) -> dict[str, object]:
    start_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    try:
        image = decode(data, max_pixels=max_pixels)
        result = {"outcome": "decoded", "size": image.shape[1::-1], "kind": f"{image.dtype}, {image.shape[2]}"}
    except ImageError as error:
        result = {"outcome": type(error).__name__, "reason": str(error)}
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start_kib
    return {**result, "cpu_s": time.process_time() - start, "grown_mib": grown_kib / 1024}


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
