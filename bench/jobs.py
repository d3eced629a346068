"""Measure a job whose worker is killed twice: `python -m bench.jobs --images 10000`.

It starts the stack as `make run` does, sends one ZIP archive of small PNG files, and kills the worker with SIGKILL
after a third and after two thirds of the images. In the end, it checks that each image has exactly one result, and
prints how long it took and how much CPU time each program used.
"""

import argparse
import io
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from signal import SIGKILL
from typing import Any

import cv2
import numpy as np
import requests

from tools.local_stack import LocalStack
from tools.waiting import wait_until

SIDE = 32
TIMEOUT_S = 60.0
POLL_S = 0.05
MAX_JOB_S = 1800.0


def main(arguments: Sequence[str]) -> None:
    """Measure and print the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.jobs", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--model", default="cifar10")
    parser.add_argument("--jobs", default="sqlite", choices=["sqlite", "redis"], help="GATEWAY_JOBS")
    parser.add_argument("--kills", type=int, default=2, help="how often the worker is killed")
    parser.add_argument("--run-dir", type=Path, help="for logs; a temporary folder by default")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        run_dir = options.run_dir or Path(folder) / "run"
        environment = {"GATEWAY_JOBS": options.jobs, "GATEWAY_JOBS_DIR": str(Path(folder) / "jobs")}
        with LocalStack(run_dir, environment=environment) as stack:
            stack.start()
            _measure(stack, options.images, options.model, options.kills)


def make_archive(images: int) -> bytes:
    """Return a ZIP archive of noisy PNG files."""
    random = np.random.default_rng(0)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for index in range(images):
            pixels = random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
            archive.writestr(f"{index:06}.png", cv2.imencode(".png", pixels)[1].tobytes())
    return file.getvalue()


def read_results(url: str) -> Iterator[dict[str, Any]]:
    """Yield the results of a job, page by page."""
    next_url: str | None = f"{url}/results?limit=1000"
    while next_url:
        response = requests.get(next_url, timeout=TIMEOUT_S)
        yield from (json.loads(line) for line in response.text.splitlines())
        link = response.links.get("next")
        next_url = requests.compat.urljoin(url, link["url"]) if link else None


def _measure(stack: LocalStack, images: int, model: str, kills: int) -> None:
    archive = make_archive(images)
    before_s = stack.cpu_s()
    started_s = time.monotonic()
    response = requests.post(
        f"{stack.url}/api/v1/jobs",
        params={"model": model, "top_k": "1"},
        data=archive,
        headers={"Content-Type": "application/zip"},
        timeout=TIMEOUT_S,
    )
    if response.status_code != HTTPStatus.ACCEPTED:
        raise SystemExit(response.text)
    url = f"{stack.url}{response.headers['Location']}"
    accepted_s = time.monotonic() - started_s
    killed_cpu_s = 0.0
    for kill in range(1, kills + 1):
        _await_count(url, images * kill // (kills + 1))
        killed_cpu_s += stack.cpu_s()["jobs-worker"]
        stack.end("jobs-worker", SIGKILL)
        stack.start_jobs_worker()
    wait_until(lambda: _read(url)["finished"], MAX_JOB_S, "the end of the job", poll_s=POLL_S)
    seconds = time.monotonic() - started_s
    indices = [result["index"] for result in read_results(url)]
    if indices != list(range(images)):
        raise SystemExit(f"{len(indices)} results, {len(set(indices))} different ones, for {images} images")
    used = {name: cpu_s - before_s.get(name, 0.0) for name, cpu_s in stack.cpu_s().items()}
    used["jobs-worker"] = stack.cpu_s()["jobs-worker"] + killed_cpu_s
    sys.stdout.write(
        f"{images} images of {SIDE} x {SIDE} ({len(archive) / 1e6:.1f} MB), worker killed {kills} times: "
        f"{len(indices)} results, each index once\n"
        f"accepted in {accepted_s:.2f} s, done in {seconds:.1f} s: {images / seconds:.0f} images/s\n"
        + "".join(
            f"{name}: {cpu_s:.1f} s CPU, {1000 * cpu_s / images:.2f} ms an image\n" for name, cpu_s in used.items()
        )
    )


def _read(url: str) -> dict[str, Any]:
    job: dict[str, Any] = requests.get(url, timeout=TIMEOUT_S).json()
    return {"finished": None, **job}


def _await_count(url: str, count: int) -> None:
    """Wait until a job has this number of results."""

    def has_count() -> bool:
        job = _read(url)
        return int(job["answered"]) + int(job["failed"]) >= count

    wait_until(has_count, MAX_JOB_S, "progress", poll_s=POLL_S)


if __name__ == "__main__":
    main(sys.argv[1:])
