"""The wheel and the sdist of the client: what they hold, and what a user can do after installing the wheel."""

import email
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway import __version__
from tests.support.contract_gateway import ContractGateway

ROOT = Path(__file__).parents[3]
UV = (ROOT / ".tools/uv/bin/python", "tools/uv.py")  # through the configured package index
SOURCES = (ROOT / "client/image_gateway_client").rglob("*")
PACKAGE = {str(path.relative_to(ROOT / "client")) for path in SOURCES if path.suffix in {".py", ".typed"}}
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses"}
USERS_SCRIPT = """
import sys

import client
from image_gateway_client import AsyncClient, Client, ImageGatewayClient

assert AsyncClient.from_env(api_key="k")
assert ImageGatewayClient is Client
with Client(sys.argv[1]) as gateway:
    print(client.GREETING, gateway.classify(b"cat").label)
"""
pytestmark = pytest.mark.timeout(300)


def uv(*arguments: object, **variables: object) -> None:
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    done = subprocess.run(
        [*UV, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel built from it, by the build backend of this environment."""
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "client", "--offline", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel and the locked versions of what it requires, nothing else."""
    environment = tmp_path_factory.mktemp("install") / "venv"
    uv("install", environment, "--package", "image-gateway-client", "--no-default-groups", "--no-emit-workspace")
    uv("pip", "install", "--offline", "--no-deps", "--python", environment / "bin/python", wheel)
    uv("pip", "check", "--python", environment / "bin/python")
    return environment


@pytest.fixture
def gateway() -> Iterator[ContractGateway]:
    with ContractGateway() as gateway:
        yield gateway


@pytest.fixture
def run(environment: Path, tmp_path: Path) -> Callable[..., str]:
    """Run a program of the environment in a folder with the user's own client.py; return what it printed."""
    (tmp_path / "client.py").write_text('GREETING = "hello"\n', encoding="utf-8")
    (tmp_path / "script.py").write_text(USERS_SCRIPT, encoding="utf-8")

    def run(program: str, *arguments: str) -> str:
        command = [environment / "bin" / program, *arguments]
        variables = {"PATH": os.environ["PATH"]}
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True).stdout

    return run


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        files = [Path(name) for name in archive.namelist()]

    info = f"image_gateway_client-{__version__}.dist-info"
    assert {file.parts[0] for file in files} == {"image_gateway_client", info}
    assert {str(file) for file in files if file.parts[0] == "image_gateway_client"} == PACKAGE
    assert "image_gateway_client/py.typed" in PACKAGE
    assert {file.parts[1] for file in files if file.parts[0] == info} == METADATA


def test_the_wheel_names_its_version_and_licence(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        info = f"image_gateway_client-{__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        licence = archive.read(f"{info}/licenses/LICENSE")

    assert (metadata["Name"], metadata["Version"]) == ("image-gateway-client", __version__)
    assert metadata["License-Expression"] == "Apache-2.0"
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert "Client(" in metadata.get_payload()


def test_the_sdist_holds_what_the_wheel_is_built_from(built: Path):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        files = {Path(*Path(name).parts[1:]) for name in archive.getnames()}

    assert {str(file) for file in files if file.parts[0] == "image_gateway_client"} == PACKAGE
    others = {str(file) for file in files if file.parts[0] != "image_gateway_client"}
    assert others == {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", ".gitignore"}


def test_the_package_works_beside_a_client_module_of_the_user(run: Callable[..., str], gateway: ContractGateway):
    assert run("python", "script.py", gateway.url) == "hello cat\n"


def test_the_command_works(run: Callable[..., str], gateway: ContractGateway, tmp_path: Path):
    (tmp_path / "photo.jpg").write_bytes(b"cat")

    table = run("image-gateway", "classify", "photo.jpg", "--url", gateway.url)

    assert "cat" in table
    assert run("image-gateway", "--version") == f"image-gateway {__version__}\n"
