"""The client installs and runs without what the servers need."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "cv2",
    "flask",
    "google",
    "grpc",
    "gunicorn",
    "keras",
    "numpy",
    "structlog",
    "tensorflow",
    "tensorflow_serving",
}
OURS = {"bench", "gateway", "model_server", "tfs_api", "tools", "train", "vision"}
HEAVY_DISTRIBUTIONS = {
    "flask",
    "grpcio",
    "gunicorn",
    "keras",
    "numpy",
    "opencv-python-headless",
    "protobuf",
    "structlog",
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-serving-api",
}


def locked() -> dict[str, set[str]]:
    """What each package in uv.lock needs, by name; several versions of one are joined."""
    needs: dict[str, set[str]] = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]:
        needs.setdefault(package["name"], set()).update(need["name"] for need in package.get("dependencies", []))
    return needs


def needed(name: str, needs: dict[str, set[str]]) -> set[str]:
    """Everything that comes along with a package."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        new = needs[waiting.pop()] - found
        found |= new
        waiting += new
    return found


@pytest.mark.parametrize(
    "module", ["image_gateway_client", "image_gateway_client.cli", "image_gateway_client.__main__"]
)
def test_the_client_imports_nothing_of_the_servers(module):
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    roots = {name.partition(".")[0] for name in loaded.split()}
    assert module.partition(".")[0] in roots
    assert not roots & (HEAVY | OURS)


def test_the_library_needs_neither_typer_nor_rich():
    code = "import sys, image_gateway_client; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"typer", "rich"} & set(loaded.split())


def test_installing_without_extras_brings_nothing_of_the_servers():
    brought = needed("image-gateway-client", locked())
    assert {"requests", "rich", "typer"} <= brought
    assert not brought & HEAVY_DISTRIBUTIONS
