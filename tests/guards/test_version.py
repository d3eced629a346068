"""gateway/__init__.py states the version; every other place that has it agrees."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from gateway import __version__

ROOT = Path(__file__).parents[2]
DOCKERFILES = ["gateway/Dockerfile", "model_server/Dockerfile", "deploy/serverless/Dockerfile"]


def test_the_application_and_the_installed_client_have_it():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert pyproject["project"]["version"] == __version__
    assert version("image-gateway-client") == __version__, "run `make .venv/.dev-ready`"


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_images_are_labelled_with_it(dockerfile: str):
    defaults = re.findall(r"^ARG VERSION=(.*)$", (ROOT / dockerfile).read_text(encoding="utf-8"), re.MULTILINE)

    assert defaults == [__version__]


def test_manifests_deploy_the_image_of_it():
    files = sorted((ROOT / "deploy/kubernetes").rglob("kustomization.yaml"))
    kustomizations = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    images = [image for kustomization in kustomizations for image in kustomization.get("images", [])]

    tags = {image["newTag"] for image in images if image["name"] == "image-gateway" and "newTag" in image}

    assert tags - {"local"} == {__version__}


def test_docs_show_it():
    pages = ("docs/guides/deploy.md", "docs/guides/upgrade.md")
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in pages)
    shown = re.findall(r"(?:\?ref=v|/image-gateway:)(\d+\.\d+\.\d+)", text)

    assert len(shown) >= 2
    assert set(shown) == {__version__}


@pytest.mark.parametrize(
    "command",
    [["-m", "train"], ["-m", "tools.run"], ["-m", "image_gateway_client"]],
    ids=lambda command: command[1],
)
def test_commands_print_it(command: list[str]):
    done = subprocess.run(
        [sys.executable, *command, "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout == f"image-gateway {__version__}\n"
