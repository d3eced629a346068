"""The whole stack, started once for all tests here, and images to send to it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.folder_server import serving
from tests.support.stack import ROOT, RunningStack, running
from tools.committed_models import golden_images

GOLDEN = golden_images("digits")
PHOTOS = golden_images("cifar10")
CLASSES = 10  # of `digits` and of `cifar10`
WRITE_MODELS_S = 300  # with TensorFlow, on a busy machine
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
BROWSER_MS = 60_000  # a busy machine may need far more than Playwright's default of 5 s or 30 s
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="session")
def image_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A web server on the loopback: its folder, and its host:port."""
    folder = tmp_path_factory.mktemp("images")
    with serving(folder) as host:
        yield folder, host


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, image_host: tuple[Path, str]) -> Iterator[RunningStack]:
    """A stack with the committed models, which may fetch from the image host and be called by its pages."""
    environment = {"GATEWAY_FETCH_ALLOWED_HOSTS": image_host[1], "GATEWAY_CORS_ORIGINS": f"http://{image_host[1]}"}
    with running(tmp_path_factory.mktemp("run"), environment=environment) as stack:
        yield stack


@pytest.fixture(scope="session")
def colour_stack(tmp_path_factory: pytest.TempPathFactory, image_host: tuple[Path, str]) -> Iterator[RunningStack]:
    """A stack with the models of tests/support/colour_models.py: versions, labels, heat maps, several classes an image.

    It may fetch from every port of the loopback, and pages of the image host may send requests to it.
    """
    models = tmp_path_factory.mktemp("models")
    command = [sys.executable, "-m", "tests.support.colour_models", models]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=WRITE_MODELS_S)
    environment = {"GATEWAY_FETCH_ALLOWED_HOSTS": "127.0.0.1", "GATEWAY_CORS_ORIGINS": f"http://{image_host[1]}"}
    run_dir = tmp_path_factory.mktemp("run")
    with running(run_dir, models_config=models / "models.config", environment=environment) as stack:
        yield stack


@pytest.fixture(scope="session")
def golden() -> list[tuple[bytes, str, list[float]]]:
    """The golden images of `digits`, one for each digit from 0 to 9: PNG bytes, class, probabilities in int8."""
    entries = json.loads((GOLDEN / "golden.json").read_text(encoding="utf-8"))["images"]
    assert len(entries) == CLASSES
    return [((GOLDEN / item["file"]).read_bytes(), item["class"], item["tflite_probabilities"]) for item in entries]


@pytest.fixture(scope="session")
def photos() -> list[tuple[Path, str]]:
    """A small photo for each class of `cifar10`, with its class."""
    entries = json.loads((PHOTOS / "golden.json").read_text(encoding="utf-8"))["images"]
    assert len(entries) == CLASSES
    return [(PHOTOS / item["file"], item["class"]) for item in entries]


@pytest.fixture(scope="session")
def drawn_seven() -> bytes:
    """A JPEG of a seven drawn dark on white, 300 pixels wide and 400 high."""
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
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, stack: RunningStack, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page at /; fails if the page logs an error or sends a request to another host before the end of the test.

    A test sets options of the browser's context, such as its colour scheme, by indirect parametrization.
    """
    options = {"viewport": {"width": 1100, "height": 800}, **getattr(request, "param", {})}
    context = browser.new_context(**options)
    context.set_default_timeout(BROWSER_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security" in message.text else None)
    page.on(
        "request",
        lambda request: None if request.url.startswith((stack.url, "blob:", "data:")) else errors.append(request.url),
    )
    page.goto(stack.url)
    yield page
    context.close()
    assert errors == []
