"""A newcomer follows a photo from the request's body to the JSON of the response through a bounded number of files."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from gateway.app import create_app, make_fetcher
from gateway.models.configured import ConfiguredModels
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer, classifier, constant
from vision.card import Card, InputSpec

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway/", "vision/", "tfs_api/")
MAX_FILES = 14
ARCHITECTURE = ROOT / "docs" / "architecture.md"
BOUNDARY = b"----------------------------0123456789abcdef"


@contextmanager
def traced_files() -> Iterator[list[str]]:
    """Collect the files of our packages whose functions are called inside, in the order of their first call."""
    files: dict[str, None] = {}

    def trace(frame, event, _):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(f"{ROOT}/"):
            relative = path.removeprefix(f"{ROOT}/")
            if relative.startswith(PACKAGES):
                files[relative] = None

    collected: list[str] = []
    sys.setprofile(trace)
    try:
        yield collected
    finally:
        sys.setprofile(None)
        collected.extend(files)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the files that one photo, sent as curl sends it, passes through on a warm gateway."""
    card = Card(name="pets", labels=("cat", "dog", "fish"), input=InputSpec(height=32, width=32))
    server = FakeModelServer()
    server.swap("pets", 1, classifier(card, constant(0.2, 0.7, 0.1)))
    settings = Settings(models=("pets",), cards_dir=tmp_path_factory.mktemp("cards"))
    app = create_app(
        settings,
        server=server,
        fetcher=make_fetcher(settings),
        configured_models=ConfiguredModels(lambda: {"pets": ()}),
    )
    photo = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8))[1].tobytes()
    head = b'Content-Disposition: form-data; name="image"; filename="cat.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    body = b"--" + BOUNDARY + b"\r\n" + head + photo + b"\r\n--" + BOUNDARY + b"--\r\n"
    client = app.test_client()

    def send() -> None:
        content_type = f"multipart/form-data; boundary={BOUNDARY.decode()}"
        response = client.post("/api/v1/predict", data=body, content_type=content_type)
        assert response.json["class"] == "dog"

    send()
    with traced_files() as collected:
        send()
    return collected


def test_a_photo_passes_through_few_files(files: list[str]):
    assert "gateway/http/views.py" in files
    assert "vision/decode.py" in files
    assert len(files) <= MAX_FILES, "\n".join(files)


def test_the_architecture_page_lists_these_files(files: list[str]):
    page = ARCHITECTURE.read_text(encoding="utf-8")
    section = page.partition("<!-- photo path: begin -->")[2].partition("<!-- photo path: end -->")[0]
    assert sorted(re.findall(r"`((?:gateway|vision|tfs_api)/[\w/]+\.py)`", section)) == sorted(files)
