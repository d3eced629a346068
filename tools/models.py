"""Add a model to those that are served, also while they are served, and check the folders of all models.

    python -m tools.models add FOLDER [--name NAME] [--config serving_models/models.config] [--url http://localhost:8080]
    python -m tools.models check [--config serving_models/models.config]

FOLDER is a SavedModel, or a folder with a SavedModel for each version. `make add-model FOLDER=…` calls this.
"""

import argparse
import filecmp
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import cv2
import numpy as np
import requests

from gateway.models.configured import ModelsConfigError
from gateway.models.folders import (
    MODEL_FILES,
    ModelFolder,
    describe_foreign,
    describe_version_fault,
    find_nested_models,
    version_number,
)
from tools.models_config import add_entry, find_faults, read_entries
from tools.programs import ROOT

DEFAULT_CONFIG = ROOT / "serving_models" / "models.config"
DEFAULT_URL = "http://localhost:8080"
API_KEY_VARIABLE = "IMAGE_GATEWAY_API_KEY"
TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 15.0
POLL_S = 0.5
FIRST_VERSION = "1"
TEST_IMAGE_SIZE = 64
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class AddError(Exception):
    """The model cannot be added or used; the message says why and what to do."""


class NoServiceError(Exception):
    """Nothing answers at the URL."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What `models.config` says about a model.

    Attributes:
        name: Its name.
        folder: The folder with its versions, absolute.
        source: The SavedModel to copy there as the first version; None if the versions are there.
    """

    name: str
    folder: Path
    source: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status, 1 if a model cannot be added or served."""
    options = _parse_arguments(arguments)
    try:
        return check(options.config) if options.command == "check" else add(options)
    except (AddError, ModelsConfigError) as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename} cannot be read: {error.strerror}."
    print(f"tools.models: {message}", file=sys.stderr)
    return 1


def check(config: Path) -> int:
    """Print for each model whether its folder can be served; return 1 if one cannot.

    Raises:
        ModelsConfigError: The configuration cannot be used.
    """
    entries = read_entries(config)
    faults = find_faults(entries)
    for name in entries:
        print(f"{name}: {faults.get(name, 'ok')}")
    return 1 if faults else 0


def add(options: argparse.Namespace) -> int:
    """Add a model to the configuration, wait until it is served, and print how to try it; return the exit status.

    Raises:
        AddError: The folder cannot be served, the name is used by another model, or the service cannot use it.
        ModelsConfigError: The configuration cannot be used.
    """
    placement = choose_placement(options.folder.absolute(), options.name, options.config)
    configure(placement, options.config)
    service = Service(options.url, options.api_key)
    try:
        version = service.await_model(placement.name, options.timeout)
    except NoServiceError as error:
        print(f"No service answers at {options.url} ({error}). {placement.name} is served from the next `make run` on.")
        return 0
    print(f"{placement.name} version {version} is served. Try it:\n  {curl(options.url, placement, version)}")
    return 0


def choose_placement(folder: Path, name: str | None, config: Path) -> Placement:
    """Return under which name and in which folder a model is to be served.

    Raises:
        AddError: The folder cannot be served, or the name cannot be used.
    """
    is_version = _is_saved_model(folder)
    is_numbered = is_version and version_number(folder.name) is not None
    name = name or (folder.parent.name if is_numbered else folder.name)
    check_name(name)
    home = config.parent.absolute() / name
    if not is_version:
        fault = describe_fault(folder, home / FIRST_VERSION)
        if fault:
            raise AddError(fault)
        return Placement(name, folder)
    if fault := describe_version_fault(folder):
        raise AddError(fault)
    present = [path for path in home.iterdir() if version_number(path.name) is not None] if home.is_dir() else []
    is_there = (is_numbered and folder.parent == home) or (folder == home and present)
    if is_there or any(_is_copy(path, folder) for path in present):
        return Placement(name, home)
    if present:
        newest = max(version_number(path.name) or 0 for path in present)
        raise AddError(
            f"{home} has another model already. Choose another name (--name), or make this its next version: "
            f"cp -r {_quoted(folder)} {_quoted(home / f'{newest + 1}.tmp')} && "
            f"mv {_quoted(home / f'{newest + 1}.tmp')} {_quoted(home / str(newest + 1))}"
        )
    return Placement(name, home, source=folder)


def describe_fault(folder: Path, version: Path) -> str | None:
    """Return why a folder is neither a SavedModel nor a folder with versions, and what to do; None if it is one."""
    if folder.is_file():
        other = describe_foreign(folder, version)
        return other or f"{folder} is a file. Expected is the folder of a SavedModel, with {MODEL_FILES[0]} in it."
    if not folder.is_dir():
        return f"{folder} does not exist."
    has_versions = any(version_number(path.name) is not None for path in folder.iterdir())
    nested = next(find_nested_models(folder), None)
    if nested and not has_versions:
        return f"{folder} is not a SavedModel; {nested} is one. Add that: python -m tools.models add {_quoted(nested)}"
    return ModelFolder(str(folder), folder).describe_fault()


def check_name(name: str) -> None:
    """Check that a name can be part of a URL and of a path.

    Raises:
        AddError: It cannot.
    """
    if not name or name.startswith(".") or "/" in name or not name.isprintable():
        raise AddError(f"{name!r} cannot be the name of a model. Choose another one: --name flowers")


def configure(placement: Placement, config: Path) -> None:
    """Copy the SavedModel if necessary, and name the model in the configuration; what is there already stays.

    Raises:
        AddError: The configuration names another folder for the model, or the SavedModel cannot be copied.
        ModelsConfigError: The configuration cannot be used.
    """
    entries = read_entries(config) if config.exists() else None
    configured = entries.folders.get(placement.name) if entries else None
    if configured and configured.path.absolute().resolve() != placement.folder.resolve():
        raise AddError(
            f"{display(config)} names {configured.base_path} for {placement.name}, not {display(placement.folder)}. "
            "Choose another name (--name), or correct base_path there."
        )
    if placement.source:
        copy(placement.source, placement.folder / FIRST_VERSION)
        print(f"{display(placement.source)} copied to {display(placement.folder / FIRST_VERSION)}.")
    if configured:
        print(f"{placement.name} is in {display(config)} already.")
        return
    add_entry(config, placement.name, _base_path(placement.folder))
    print(f"{placement.name} added to {display(config)}.")
    if not placement.folder.is_relative_to(config.parent.absolute()):
        print(f"It stays in {placement.folder}; Compose and Kubernetes serve what is in {display(config.parent)}.")


def copy(source: Path, version: Path) -> None:
    """Copy a SavedModel so that it appears in one step.

    Raises:
        AddError: It cannot be copied.
    """
    try:
        version.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=version.parent) as staging:
            # The SavedModel may be the folder around it.
            shutil.copytree(source, Path(staging, "1"), ignore=lambda _, names: {Path(staging).name} & set(names))
            Path(staging, "1").rename(version)
    except (OSError, shutil.Error) as error:
        raise AddError(f"{source} cannot be copied to {version}: {error}") from error


class Service:
    """A running gateway.

    Args:
        url: Its URL.
        api_key: Its API key; None if it requires none.
    """

    def __init__(self, url: str, api_key: str | None) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = urlsplit(url).hostname not in LOOPBACK  # no proxy on the way to this machine
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"

    def await_model(self, name: str, timeout_s: float) -> int:
        """Wait until a model is available, classify a gray image with it, and return its version.

        Raises:
            AddError: It is not available in time, or cannot be used.
            NoServiceError: Nothing answers.
        """
        deadline_s = time.monotonic() + timeout_s
        last_reason = None
        while True:
            document = self.get(f"/api/v1/models/{quote(name, safe='')}")
            if document.get("available"):
                self.classify(name)
                return int(document["version"])
            reason = document.get("reason") or document.get("detail") or "it gives no reason"
            is_final = _is_final(document) and reason == last_reason  # once, it may be a version that has just changed
            if is_final or time.monotonic() > deadline_s:
                raise AddError(f"{name} is not served at {self._url}: {reason}")
            last_reason = reason
            time.sleep(POLL_S)

    def classify(self, name: str) -> None:
        """Classify a gray image.

        Raises:
            AddError: The model cannot be used.
            NoServiceError: Nothing answers.
        """
        image = np.full((TEST_IMAGE_SIZE, TEST_IMAGE_SIZE, 3), 128, np.uint8)
        _, png = cv2.imencode(".png", image)
        path = f"/api/v1/models/{quote(name, safe='')}/predict"
        response = self._request("POST", path, data=png.tobytes(), headers={"Content-Type": "image/png"})
        if not response.ok:
            raise AddError(f"{name} is loaded, but cannot be used: {_document(response).get('detail', response.text)}")

    def get(self, path: str) -> Mapping[str, Any]:
        """Return the JSON document of a route, or of its problem.

        Raises:
            AddError: The service refuses the request.
            NoServiceError: Nothing answers.
        """
        response = self._request("GET", path)
        if response.status_code in {401, 403}:
            raise AddError(
                f"{self._url} requires an API key. Set {API_KEY_VARIABLE}; the model is configured in any case."
            )
        return _document(response)

    def _request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        try:
            return self._session.request(method, self._url + path, timeout=REQUEST_TIMEOUT_S, **arguments)
        except requests.exceptions.SSLError as error:
            raise AddError(f"{self._url} has no certificate that is trusted here: {error}") from error
        except requests.ConnectionError as error:
            raise NoServiceError("connection failed") from error
        except requests.RequestException as error:
            raise AddError(f"{self._url} did not answer: {error}") from error


def curl(url: str, placement: Placement, version: int) -> str:
    """Return a command that classifies an image with the model: a golden image of it, if it has one."""
    golden = sorted((placement.folder / str(version) / "assets.extra" / "golden").glob("*.png"))
    image = _quoted(golden[0]) if golden else "photo.jpg"
    return f"curl -F image=@{image} {url.rstrip('/')}/api/v1/models/{quote(placement.name, safe='')}/predict"


def display(path: Path) -> str:
    """Return a path relative to the current folder if it is inside."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _is_final(document: Mapping[str, Any]) -> bool:
    """Return whether the model server has given up the model's versions, or the gateway cannot use the one it has."""
    states = {version["state"] for version in document.get("versions", [])}
    has_failed = any(version.get("reason") for version in document.get("versions", []))
    return "AVAILABLE" in states or (has_failed and states == {"END"})


def _document(response: requests.Response) -> Mapping[str, Any]:
    try:
        document = response.json()
    except ValueError:
        document = None
    return document if isinstance(document, dict) else {"detail": f"it answers with status {response.status_code}"}


def _is_saved_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in MODEL_FILES)


def _is_copy(version: Path, source: Path) -> bool:
    """Return whether two folders have the same files."""
    names = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    if names != {path.relative_to(version) for path in version.rglob("*") if path.is_file()}:
        return False
    return all(filecmp.cmp(source / name, version / name, shallow=False) for name in names)


def _base_path(folder: Path) -> str:
    """Return how `models.config` names a folder: relative to the repository, which is where the servers start."""
    return str(folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder)


def _quoted(path: Path) -> str:
    return shlex.quote(display(path))


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.models", description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="check the folders of all models")
    adding = commands.add_parser("add", help="add a model and wait until it is served")
    adding.add_argument("folder", type=Path, metavar="FOLDER", help="a SavedModel, or a folder with versions")
    adding.add_argument("--name", help="name of the model; the folder's if not set")
    adding.add_argument("--url", default=DEFAULT_URL, help=f"URL of the running service; default: {DEFAULT_URL}")
    adding.add_argument("--api-key", default=os.environ.get(API_KEY_VARIABLE), help=f"or ${API_KEY_VARIABLE}")
    adding.add_argument("--timeout", type=float, default=TIMEOUT_S, metavar="SECONDS", help="how long to wait for it")
    for command in (checking, adding):
        command.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="models.config")
    options = parser.parse_args(arguments)
    options.config = options.config.absolute()
    return options


if __name__ == "__main__":
    sys.exit(main())
