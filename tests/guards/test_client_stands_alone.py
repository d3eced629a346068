"""The client needs none of the servers' packages, neither to install nor to run."""

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


def read_lock() -> dict[str, set[str]]:
    """Return the requirements of each package in uv.lock by name; those of several versions are merged."""
    requirements: dict[str, set[str]] = {}
    for package in tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]:
        requirements.setdefault(package["name"], set()).update(
            requirement["name"] for requirement in package.get("dependencies", [])
        )
    return requirements


def requirements_of(name: str, requirements: dict[str, set[str]]) -> set[str]:
    """Return all direct and indirect requirements of a package."""
    names: set[str] = set()
    pending = [name]
    while pending:
        new = requirements[pending.pop()] - names
        names |= new
        pending += new
    return names


def modules_after_import(module: str) -> set[str]:
    """Return the modules that a new process has loaded after importing a module."""
    code = f"import sys, {module}; print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(process.stdout.split())


@pytest.mark.parametrize(
    "module", ["image_gateway_client", "image_gateway_client.cli", "image_gateway_client.__main__"]
)
def test_the_client_imports_no_package_of_the_servers(module):
    roots = {name.partition(".")[0] for name in modules_after_import(module)}

    assert module.partition(".")[0] in roots
    assert not roots & (HEAVY | OURS)


def test_the_library_needs_neither_typer_nor_rich():
    modules = modules_after_import("image_gateway_client")

    assert "image_gateway_client" in modules
    assert not {"typer", "rich"} & modules


def test_the_command_shows_its_help_without_the_http_library():
    modules = modules_after_import("image_gateway_client.__main__")

    assert "typer" in modules
    assert not {"httpx", "httpcore"} & modules


def test_the_client_requires_no_package_of_the_servers():
    requirements = requirements_of("image-gateway-client", read_lock())

    assert {"httpx", "rich", "typer"} <= requirements
    assert not {"requests", "urllib3"} & requirements
    assert not requirements & HEAVY_DISTRIBUTIONS
