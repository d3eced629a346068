"""The corpus of unusual and malicious images through the whole stack; the corpus is not part of the repository.

Every file gets a class, or a problem: too large (413), not an accepted format (415), cannot be decoded (422), or no
image (400) for an empty file. No worker ends, and the workers' memory does not grow.
"""

import base64
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from gateway.runtime.malloc import ARENAS, RETAINED_BYTES
from tests.support.stack import ROOT, RunningStack, processes_of, running
from tools.processes import resident_bytes

HOSTILE = ROOT / "../shared/data/hostile"
MAX_GROWTH_BYTES = 32 * 2**20  # of the gateway's processes together, while the same files are sent again
DIGITS = "/api/v1/models/digits/predict"  # unlike the default model, it searches every pixel for ink
BATCH = 20
THREADS = 3
OK = 200
PROBLEMS = {
    413: "/problems/image-too-large",
    415: "/problems/unsupported-image-format",
    422: "/problems/unreadable-image",
}

pytestmark = [
    pytest.mark.in_order,  # the last test checks the service after all others
    pytest.mark.skipif(not HOSTILE.is_dir(), reason="the corpus of hostile images is not in ../shared/data"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A separate stack: libjpeg, libpng and libtiff write warnings to stderr, which is not the log of the gateway."""
    with running(tmp_path_factory.mktemp("run")) as stack:
        yield stack


@pytest.fixture(scope="module")
def files() -> list[Path]:
    return sorted(path for path in HOSTILE.glob("*/*") if path.is_file())


def gateway_processes(stack: RunningStack) -> list[int]:
    """Return the process ids of gunicorn's master and, after it, of its workers."""
    return processes_of(stack.process, "gunicorn")


def total_bytes(stack: RunningStack) -> int:
    return sum(map(resident_bytes, gateway_processes(stack)))


def send_part(stack: RunningStack, path: Path) -> requests.Response:
    files = {"image": (path.name.encode("ascii", "replace").decode(), path.read_bytes())}
    return requests.post(stack.predict_url, files=files, timeout=60)


def send_body(stack: RunningStack, path: Path) -> requests.Response:
    url = f"{stack.url}{DIGITS}"
    return requests.post(url, data=path.read_bytes(), headers={"Content-Type": "image/png"}, timeout=60)


def send_base64(stack: RunningStack, path: Path) -> requests.Response:
    return requests.post(stack.predict_url, json={"image": base64.b64encode(path.read_bytes()).decode()}, timeout=60)


def statuses_of(
    stack: RunningStack, files: list[Path], send: Callable[[RunningStack, Path], requests.Response]
) -> dict[str, int]:
    """Send every file in a separate request, check the response, and return its status by the file's name."""
    with ThreadPoolExecutor(THREADS) as pool:
        responses = list(pool.map(lambda path: send(stack, path), files))
    statuses = {}
    for path, response in zip(files, responses, strict=True):
        name = str(path.relative_to(HOSTILE))
        statuses[name] = response.status_code
        if path.stat().st_size == 0:
            assert response.status_code in {400, 422}, (name, response.text)
        elif response.status_code != OK:
            assert response.status_code in PROBLEMS, (name, response.text)
            assert response.json()["type"] == PROBLEMS[response.status_code], (name, response.text)
    return statuses


def statuses_in_batch(stack: RunningStack, files: list[Path]) -> dict[str, int]:
    """Send many files in one request, and return the status of each file by its name."""
    parts = [("image", (f"{number}.png", path.read_bytes())) for number, path in enumerate(files)]
    response = requests.post(stack.predict_url, files=parts, timeout=60)
    assert response.status_code == OK, response.text
    results = response.json()["results"]
    return {
        str(path.relative_to(HOSTILE)): result.get("status", OK) for path, result in zip(files, results, strict=True)
    }


def test_every_file_is_answered_without_harm_to_the_workers(stack: RunningStack, files: list[Path]):
    assert len(files) > 1_000
    processes_before = gateway_processes(stack)

    by_part = statuses_of(stack, files, send_part)
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    by_batch = {name: status for batch in batches for name, status in statuses_in_batch(stack, batch).items()}
    warm_bytes = total_bytes(stack)  # the first batches start the threads that decode in parallel
    by_body = statuses_of(stack, files, send_body)
    small = [path for path in files if path.parent.name in {"made_here", "zune_fuzz_png", "small"}]
    by_base64 = statuses_of(stack, small, send_base64)

    assert gateway_processes(stack) == processes_before, "a worker was replaced"
    growth_bytes = total_bytes(stack) - warm_bytes
    counts = Counter(by_part.values())
    sys.stdout.write(f"statuses {dict(counts)}, gateway {warm_bytes} bytes, then {growth_bytes:+}\n")
    _master, *workers = processes_before
    retained_bytes = len(workers) * ARENAS * RETAINED_BYTES  # freed memory; all of it, or none
    assert growth_bytes < MAX_GROWTH_BYTES + retained_bytes
    assert counts[OK] > 500
    assert all(counts[status] for status in PROBLEMS)
    non_empty = {str(path.relative_to(HOSTILE)) for path in files if path.stat().st_size}
    for others in (by_body, by_batch, by_base64):
        names = non_empty & others.keys()
        assert names
        assert {name: by_part[name] for name in names} == {name: others[name] for name in names}


def test_the_service_classifies_correctly_afterwards(stack: RunningStack, golden: list[tuple[bytes, str, list[float]]]):
    for image, label, _ in golden:
        response = requests.post(f"{stack.url}{DIGITS}", files={"image": image}, timeout=20)
        assert response.json()["class"] == label
