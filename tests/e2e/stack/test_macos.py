"""The whole stack on a Python without the names that macOS lacks, and with the limits of a terminal there."""

import resource
import shutil
import site
import subprocess
import venv
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests

from tests.support.stack import ROOT, RunningStack, processes_of, running

MODULES_OF_THE_STACK = ("model_server", "gunicorn", "vision.isolation")
OPEN_FILES = 256
"""Soft limit of a terminal on macOS."""
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of an interpreter with the packages of the tests, and without what macOS lacks."""
    folder = tmp_path_factory.mktemp("macos")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    shutil.copy2(ROOT / "tests/support/missing_on_macos.py", packages)
    (here,) = (path for path in site.getsitepackages() if Path(path).is_dir())
    (packages / "packages.pth").write_text(
        f"import missing_on_macos, site; site.addsitedir({here!r})\n", encoding="utf-8"
    )
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def stack(python: str, image_host: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    environment = {"GATEWAY_FETCH_ALLOWED_HOSTS": image_host[1].replace("127.0.0.1", "localhost")}
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))
    try:
        with running(tmp_path_factory.mktemp("run"), environment=environment, python=python) as stack:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            yield stack
        assert stack.process.returncode == 0, "it stops when it is told to"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_interpreter_lacks_what_macos_lacks(python: str):
    code = "import os, sys; print(sys.platform, hasattr(os, 'sched_getaffinity'), hasattr(os, 'posix_fallocate'))"

    printed = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed == "darwin False False\n"


def test_photos_are_classified(stack: RunningStack, golden):
    png, label, _ = golden[0]

    response = requests.post(f"{stack.url}/api/v1/models/digits/predict", files={"image": png}, timeout=30)

    assert (response.status_code, response.json()["class"]) == (200, label)


def test_decoder_processes_decode(stack: RunningStack):
    _, tiff = cv2.imencode(".tif", np.full((32, 32, 3), 40_000, np.uint16))

    response = requests.post(stack.predict_url, files={"image": tiff.tobytes()}, timeout=30)

    assert response.status_code == 200, response.text
    assert all(processes_of(stack.process, module) for module in MODULES_OF_THE_STACK)


def test_a_name_is_looked_up_and_its_image_fetched(stack: RunningStack, image_host: tuple[Path, str], golden):
    png, label, _ = golden[1]
    folder, host = image_host
    (folder / "macos.png").write_bytes(png)
    url = f"http://{host.replace('127.0.0.1', 'localhost')}/macos.png"

    response = requests.post(f"{stack.url}/api/v1/models/digits/predict", json={"url": url}, timeout=30)

    assert (response.status_code, response.json().get("class")) == (200, label), response.text


@pytest.mark.parametrize("program", ["gunicorn", "lookup_server"])
def test_forked_processes_may_use_the_systems_frameworks(stack: RunningStack, image_host, program: str):
    url = f"http://{image_host[1].replace('127.0.0.1', 'localhost')}/none.png"
    requests.post(stack.predict_url, json={"url": url}, timeout=30)  # starts the server of lookups

    (pid, *_) = processes_of(stack.process, program)

    assert b"OBJC_DISABLE_INITIALIZE_FORK_SAFETY=YES" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


def test_requests_are_counted(stack: RunningStack):
    requests.post(stack.predict_url, data=b"", timeout=30)

    page = requests.get(f"http://127.0.0.1:{stack.ports.gateway}/metrics", timeout=30).text

    assert "gateway_requests_total{" in page
