"""The corpus of awkward and malicious images through the whole stack; it is not part of the repository.

Every file gets a proper answer: a class, or that it is too large (413), of no accepted format (415) or cannot be
decoded (422). An empty one carries no image (400). No worker ends over it, and none keeps memory of it.
"""

import base64
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support.stack import ROOT, RunningStack, children, command_line, running

HOSTILE = ROOT / "../shared/data/hostile"
GROWTH_KIB = 40 * 1024  # of all workers together, over a second and third time of the same files
DIGITS = "/api/v1/models/digits/predict"  # another model than the default one, which looks at every pixel
BATCH = 20
THREADS = 3
ANSWERED = 200
REFUSED = {413, 415, 422}
PROBLEMS = {
    413: "/problems/image-too-large",
    415: "/problems/unsupported-image-format",
    422: "/problems/unreadable-image",
}

pytestmark = [
    pytest.mark.skipif(not HOSTILE.is_dir(), reason="the corpus of hostile images is not here"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack of its own: libjpeg, libpng and libtiff write their complaints past our log to stderr."""
    with running(tmp_path_factory.mktemp("run")) as started:
        yield started


@pytest.fixture(scope="module")
def files() -> list[Path]:
    return sorted(path for path in HOSTILE.glob("*/*") if path.is_file())


def workers(stack: RunningStack) -> list[int]:
    return sorted(pid for pid in children(stack.process.pid) if "gunicorn" in command_line(pid))


def resident_kib(stack: RunningStack) -> int:
    statuses = [Path(f"/proc/{pid}/status").read_text(encoding="ascii") for pid in workers(stack)]
    return sum(int(text.split("VmRSS:")[1].split()[0]) for text in statuses)


def as_part(stack: RunningStack, path: Path) -> requests.Response:
    files = {"image": (path.name.encode("ascii", "replace").decode(), path.read_bytes())}
    return requests.post(stack.predict_url, files=files, timeout=60)


def as_body(stack: RunningStack, path: Path) -> requests.Response:
    url = f"{stack.url}{DIGITS}"
    return requests.post(url, data=path.read_bytes(), headers={"Content-Type": "image/png"}, timeout=60)


def as_base64(stack: RunningStack, path: Path) -> requests.Response:
    return requests.post(stack.predict_url, json={"image": base64.b64encode(path.read_bytes()).decode()}, timeout=60)


def answers(
    stack: RunningStack, files: list[Path], send: Callable[[RunningStack, Path], requests.Response]
) -> dict[str, int]:
    """Send every file by itself, and judge each answer."""
    with ThreadPoolExecutor(THREADS) as pool:
        responses = list(pool.map(lambda path: send(stack, path), files))
    statuses = {}
    for path, response in zip(files, responses, strict=True):
        name = str(path.relative_to(HOSTILE))
        statuses[name] = response.status_code
        if path.stat().st_size == 0:
            assert response.status_code in {400, 422}, (name, response.text)
        elif response.status_code != ANSWERED:
            assert response.status_code in REFUSED, (name, response.text)
            assert response.json()["type"] == PROBLEMS[response.status_code], (name, response.text)
    return statuses


def batch_answers(stack: RunningStack, files: list[Path]) -> dict[str, int]:
    """Send many files in one request; what is wrong with one is told in its place."""
    parts = [("image", (f"{number}.png", path.read_bytes())) for number, path in enumerate(files)]
    response = requests.post(stack.predict_url, files=parts, timeout=60)
    assert response.status_code == ANSWERED, response.text
    results = response.json()["results"]
    return {
        str(path.relative_to(HOSTILE)): result.get("status", ANSWERED)
        for path, result in zip(files, results, strict=True)
    }


def test_no_file_of_the_corpus_does_any_harm(stack: RunningStack, files: list[Path]):
    assert len(files) > 1_000
    before = workers(stack)
    alone = answers(stack, files, as_part)
    warm_kib = resident_kib(stack)

    elsewhere = answers(stack, files, as_body)
    batches = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]
    together = {name: status for batch in batches for name, status in batch_answers(stack, batch).items()}
    small = [path for path in files if path.parent.name in {"made_here", "zune_fuzz_png", "small"}]
    encoded = answers(stack, small, as_base64)

    assert workers(stack) == before, "a worker was replaced"
    grown_kib = resident_kib(stack) - warm_kib
    counts = Counter(alone.values())
    sys.stdout.write(f"answers {dict(counts)}, workers {warm_kib} KiB, then {warm_kib + grown_kib} KiB\n")
    assert grown_kib < GROWTH_KIB
    assert counts[ANSWERED] > 500
    assert all(counts[status] for status in REFUSED)
    filled = {str(path.relative_to(HOSTILE)) for path in files if path.stat().st_size}
    for others in (elsewhere, together, encoded):
        assert {name: alone[name] for name in filled & others.keys()} == {
            name: others[name] for name in filled & others.keys()
        }


def test_the_service_answers_afterwards_as_before(stack: RunningStack, golden: list[tuple[bytes, str, list[float]]]):
    for image, label, _ in golden:
        response = requests.post(f"{stack.url}{DIGITS}", files={"image": image}, timeout=20)
        assert response.json()["class"] == label
