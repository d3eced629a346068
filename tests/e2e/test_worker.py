"""Libraries and memory of the gateway's workers."""

import re
from pathlib import Path

import requests

from tests.support.stack import processes_of, running
from tools.committed_models import golden_images
from tools.processes import anonymous_bytes

GOLDEN = golden_images("digits")


def gateway_workers(stack):
    """Return the process ids of the gateway's workers, without their master."""
    return processes_of(stack.process, "gunicorn")[1:]


def test_no_worker_loads_tensorflow(stack):
    workers = gateway_workers(stack)

    assert workers
    for worker in workers:
        libraries = Path(f"/proc/{worker}/maps").read_text(encoding="utf-8")
        assert "cv2" in libraries  # the worker has started, and the list contains its libraries
        assert not re.search(r"tensorflow|keras|libtorch", libraries)


def test_a_new_worker_takes_less_than_75_mb_beside_its_libraries(tmp_path):
    image = next(GOLDEN.glob("*.png")).read_bytes()
    with running(tmp_path / "run") as new_stack:
        for _ in range(50):
            requests.post(new_stack.predict_url, data=image, headers={"Content-Type": "image/png"}, timeout=30)

        sizes = [anonymous_bytes(worker) for worker in gateway_workers(new_stack)]

    assert sizes
    assert max(sizes) < 75e6


def test_a_worker_keeps_little_memory_of_earlier_requests(stack):
    retained_bytes = 2 * 8 * 2**20  # of freed memory, in two arenas

    sizes = [anonymous_bytes(worker) for worker in gateway_workers(stack)]

    assert sizes
    assert max(sizes) < 85e6 + retained_bytes
