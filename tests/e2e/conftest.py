"""The whole stack, started once for all tests here, and pictures to send to it."""

import functools
import http.server
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.stack import ROOT, RunningStack, running

GOLDEN = ROOT / "serving_models" / "digits" / "1" / "assets.extra" / "golden"
PHOTOS = ROOT / "serving_models" / "cifar10" / "1" / "assets.extra" / "golden"
WRITE_S = 300  # with TensorFlow, on a busy machine
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
BROWSER_MS = 60_000  # a busy machine may need far more than the 5 s or 30 s that are usual
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture(scope="session")
def picture_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A web server on loopback: its folder, and its host:port."""
    folder = tmp_path_factory.mktemp("pictures")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=folder))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, picture_host: tuple[Path, str]) -> Iterator[RunningStack]:
    """The committed models, served; URLs of the picture host are allowed."""
    environment = {"GATEWAY_FETCH_ALLOWED_HOSTS": picture_host[1]}
    with running(tmp_path_factory.mktemp("run"), environment=environment) as started:
        yield started


@pytest.fixture(scope="session")
def colour_stack(tmp_path_factory: pytest.TempPathFactory, picture_host: tuple[Path, str]) -> Iterator[RunningStack]:
    """The models of tests/support/colour_models.py, served: versions, labels, heat maps, several classes a picture.

    URLs of every port on loopback are allowed; pages of the picture host may ask.
    """
    models = tmp_path_factory.mktemp("models")
    command = [sys.executable, "-m", "tests.support.colour_models", models]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=WRITE_S)
    environment = {"GATEWAY_FETCH_ALLOWED_HOSTS": "127.0.0.1", "GATEWAY_CORS_ORIGINS": f"http://{picture_host[1]}"}
    run_dir = tmp_path_factory.mktemp("run")
    with running(run_dir, models_config=models / "models.config", environment=environment) as started:
        yield started


@pytest.fixture(scope="session")
def golden() -> list[tuple[bytes, str, list[float]]]:
    """The golden images of `digits`: PNG bytes, right class, probabilities."""
    entries = json.loads((GOLDEN / "golden.json").read_text(encoding="utf-8"))["images"]
    return [((GOLDEN / item["file"]).read_bytes(), item["class"], item["probabilities"]) for item in entries]


@pytest.fixture(scope="session")
def photos() -> list[tuple[Path, str]]:
    """A small photo of each class of `cifar10`, the default model, and the class."""
    entries = json.loads((PHOTOS / "golden.json").read_text(encoding="utf-8"))["images"]
    return [(PHOTOS / item["file"], item["class"]) for item in entries]


@pytest.fixture(scope="session")
def drawn_seven() -> bytes:
    """A seven drawn dark on white, 300 wide and 400 high, as JPEG."""
    paper = np.full((400, 300, 3), 250, np.uint8)
    corners = np.array([[70, 90], [230, 90], [130, 330]], np.int32)
    cv2.polylines(paper, [corners], isClosed=False, color=(40, 20, 20), thickness=22, lineType=cv2.LINE_AA)
    return cv2.imencode(".jpg", paper)[1].tobytes()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    expect.set_options(timeout=BROWSER_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, stack: RunningStack, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page at /, opened; it must have logged no fault and asked nobody else in the end.

    Options of the browser's context, such as its colour scheme, are given by parametrizing it indirectly.
    """
    options = {"viewport": {"width": 1100, "height": 800}, **getattr(request, "param", {})}
    context = browser.new_context(**options)
    context.set_default_timeout(BROWSER_MS)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    page.on(
        "request",
        lambda asked: None if asked.url.startswith((stack.url, "blob:", "data:")) else faults.append(asked.url),
    )
    page.goto(stack.url)
    yield page
    context.close()
    assert faults == []
