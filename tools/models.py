"""Add a model to those that are served, also while they are served, and check the folders of all models.

    python -m tools.models add FOLDER [--name NAME] [--config serving_models/models.config] [--url http://localhost:8080]
    python -m tools.models check [--config serving_models/models.config]

FOLDER holds a SavedModel or model.tflite, or a folder for each version. `make add-model FOLDER=…` calls this.
"""

import argparse
import filecmp
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from gateway.models.configured import ModelsConfigError
from gateway.models.folders import (
    SAVED_MODEL_FILES,
    TFLITE_FILE,
    ModelFolder,
    describe_foreign,
    describe_load_fault,
    describe_version_fault,
    find_nested_models,
    has_model,
    needs_tflite,
    strip_ending,
    version_number,
)
from tools import tensorflow_extra
from tools.models_config import NO_SAMPLE, add_entry, display_path, find_faults, find_sample, read_entries
from tools.programs import ROOT
from tools.run_folder import is_running
from tools.service import API_KEY_VARIABLE, NoServiceError, Service, ServiceError
from tools.tensorflow_extra import TensorFlowError
from tools.uv import WITHOUT_TENSORFLOW

DEFAULT_CONFIG = ROOT / "serving_models" / "models.config"
DEFAULT_URL = "http://localhost:8080"
TIMEOUT_S = 60.0
FIRST_VERSION = "1"


class AddError(Exception):
    """The model cannot be added; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What `models.config` says about a model.

    Attributes:
        name: Its name.
        folder: The folder with its versions, absolute.
        source: The folder of the model to copy there as the first version; None if the versions are there.
    """

    name: str
    folder: Path
    source: Path | None = None

    @property
    def newest_version(self) -> Path:
        """The folder of the version that will be served."""
        return self.source or max(self.folder.iterdir(), key=lambda path: version_number(path.name) or -1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status, 1 if a model cannot be added or served."""
    options = _parse_arguments(arguments)
    try:
        return check(options.config) if options.command == "check" else add(options)
    except (AddError, ModelsConfigError, ServiceError, TensorFlowError) as error:
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
        AddError: The folder cannot be served, or the name is used by another model.
        ModelsConfigError: The configuration cannot be used.
        ServiceError: The service cannot use the model.
        TensorFlowError: The model needs TensorFlow, which cannot be installed.
    """
    placement = choose_placement(options.folder.absolute(), options.name, options.config)
    check_tflite(placement)
    service = Service(options.url, options.api_key)
    check_service(service, options.url, options.config)
    install_tensorflow(placement, options.run_dir)
    configure(placement, options.config)
    try:
        version = service.await_model(placement.name, options.timeout)
    except NoServiceError as error:
        print(f"No service answers at {options.url} ({error}). {placement.name} is served from the next `make run` on.")
        return 0
    except ServiceError as error:
        config = display_path(options.config)
        stays = f"The entry stays in {config}: mend the model and run the command again, or remove it."
        raise ServiceError(f"{str(error).rstrip('.')}. {stays}") from error
    print(f"{placement.name} version {version} is served. Try it:\n  {curl(options.url, placement, version)}")
    return 0


def check_tflite(placement: Placement) -> None:
    """Compute the TensorFlow Lite model of the version that will be served, if it has one, in a separate process.

    Loading a damaged file ends the model server of Compose and Kubernetes, and all models with it.

    Raises:
        AddError: The file is damaged.
    """
    file = placement.newest_version / TFLITE_FILE
    if not file.is_file():
        return
    from model_server.errors import ServingError  # noqa: PLC0415  # LiteRT is not needed to check folders
    from model_server.memory import MAX_COMPUTATION_BYTES  # noqa: PLC0415  # as above
    from model_server.runtime.tflite.isolated import check_file  # noqa: PLC0415  # as above

    try:
        check_file(file.read_bytes(), MAX_COMPUTATION_BYTES)
    except ServingError as error:
        raise AddError(f"{placement.name} cannot be served. {describe_load_fault(error.message)}") from error


def check_service(service: Service, url: str, config: Path) -> None:
    """Check that the service that runs, if any does, offers the models of the configuration.

    Raises:
        ServiceError: It is not a gateway, requires a key, or reads another configuration.
        ModelsConfigError: The configuration cannot be used.
    """
    try:
        offered = service.list_models()
    except NoServiceError:
        return
    entries = list(read_entries(config)) if config.exists() else []
    if offered is not None and set(offered) != set(entries):
        raise ServiceError(
            f"The service at {url} does not read {display_path(config)}: it offers "
            f"{', '.join(offered) or 'no models'}; the file lists {', '.join(entries) or 'none'}. Name the file that "
            "it reads (--config), or the service that reads this file (--url)."
        )


def install_tensorflow(placement: Placement, run_dir: Path) -> None:
    """Install TensorFlow if the model needs it and `make run`, which uses this environment, lacks it.

    Other services do not use this environment, and `make run` itself installs it when it starts.

    Args:
        placement: The model.
        run_dir: RUN_DIR of `make run`.

    Raises:
        AddError: `make run` must be stopped before.
        TensorFlowError: It cannot be installed.
    """
    if not tensorflow_extra.needs_tensorflow([placement.newest_version]) or not is_running(run_dir):
        return
    if sys.version_info[:2] >= WITHOUT_TENSORFLOW and not tensorflow_extra.is_installed():
        raise AddError(
            f"{placement.name} needs TensorFlow, which has no package for Python {'{}.{}'.format(*sys.version_info)}. "
            "Stop `make run`, run this command again, which installs it with another Python, and then `make run`."
        )
    tensorflow_extra.ensure([placement.name])


def choose_placement(folder: Path, name: str | None, config: Path) -> Placement:
    """Return under which name and in which folder a model is to be served.

    Raises:
        AddError: The folder cannot be served, or the name cannot be used.
    """
    is_version = has_model(folder)
    is_numbered = is_version and version_number(folder.name) is not None
    name = name or (folder.parent.name if is_numbered else strip_ending(folder) if folder.is_file() else folder.name)
    check_name(name)
    home = config.parent.absolute() / name
    if not is_version:
        fault = describe_fault(folder, home / FIRST_VERSION, config)
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


def describe_fault(folder: Path, version: Path, config: Path) -> str | None:
    """Return why a folder neither has a model nor versions of one, and what to do; None if it has versions."""
    option = "" if config == DEFAULT_CONFIG else f" --config={_quoted(config)}"
    if folder.is_file():
        other = describe_foreign(folder, version)
        if other:
            return f"{other} Then add that: python -m tools.models add {_quoted(version.parent)}{option}"
        return f"{folder} is a file. Expected is a folder with {SAVED_MODEL_FILES[0]} or {TFLITE_FILE} in it."
    if not folder.is_dir():
        return f"{folder} does not exist."
    has_versions = any(version_number(path.name) is not None for path in folder.iterdir())
    nested = next(find_nested_models(folder), None)
    if nested and not has_versions:
        command = f"python -m tools.models add {_quoted(nested)}{option}"
        return f"{folder} has no model itself; {nested} has one. Add that: {command}"
    return ModelFolder(str(folder), folder).describe_fault()


def check_name(name: str) -> None:
    """Check that a name can be part of a URL and of a path.

    Raises:
        AddError: It cannot.
    """
    if not name or name.startswith(".") or "/" in name or not name.isprintable():
        raise AddError(f"{name!r} cannot be the name of a model. Choose another one: --name flowers")


def configure(placement: Placement, config: Path) -> None:
    """Copy the model if necessary, and name the model in the configuration; what is there already stays.

    Raises:
        AddError: The configuration names another folder for the model, or the model cannot be copied.
        ModelsConfigError: The configuration cannot be used.
    """
    entries = read_entries(config) if config.exists() else None
    configured = entries.folders.get(placement.name) if entries else None
    if configured and configured.path.absolute().resolve() != placement.folder.resolve():
        raise AddError(
            f"{display_path(config)} names {configured.base_path} for {placement.name}, not "
            f"{display_path(placement.folder)}. Choose another name (--name), or correct base_path there."
        )
    if placement.source:
        copy(placement.source, placement.folder / FIRST_VERSION)
        print(f"{display_path(placement.source)} copied to {display_path(placement.folder / FIRST_VERSION)}.")
    if needs_tflite(placement.newest_version):
        print(
            f"It has {TFLITE_FILE} and no SavedModel. `make run` and Compose serve it; a GPU (`make up-gpu`) and a "
            "model server without --prefer_tflite_model do not."
        )
    if configured:
        print(f"{placement.name} is in {display_path(config)} already.")
        return
    add_entry(config, placement.name, _base_path(placement.folder))
    print(f"{placement.name} added to {display_path(config)}.")
    if not placement.folder.is_relative_to(config.parent.absolute()):
        print(f"It stays in {placement.folder}; Compose and Kubernetes serve what is in {display_path(config.parent)}.")


def copy(source: Path, version: Path) -> None:
    """Copy a model's folder so that it appears in one step.

    Raises:
        AddError: It cannot be copied.
    """
    try:
        version.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=version.parent) as staging:
            # The source may be the folder around it.
            shutil.copytree(source, Path(staging, "1"), ignore=lambda _, names: {Path(staging).name} & set(names))
            Path(staging, "1").rename(version)
    except (OSError, shutil.Error) as error:
        raise AddError(f"{source} cannot be copied to {version}: {error}") from error


def curl(url: str, placement: Placement, version: int) -> str:
    """Return a command that classifies an image with the model: a golden image of it or else a photo."""
    sample = find_sample(placement.folder / str(version))
    image = _quoted(sample) if sample else NO_SAMPLE
    return f"curl -F image=@{image} {url.rstrip('/')}/api/v1/models/{quote(placement.name, safe='')}/predict"


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
    return shlex.quote(display_path(path))


def _parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.models", description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="check the folders of all models")
    adding = commands.add_parser("add", help="add a model and wait until it is served")
    adding.add_argument("folder", type=Path, metavar="FOLDER", help="a model's folder, or one with versions")
    adding.add_argument("--name", help="name of the model; the folder's if not set")
    adding.add_argument("--url", default=DEFAULT_URL, help=f"URL of the running service; default: {DEFAULT_URL}")
    adding.add_argument("--api-key", default=os.environ.get(API_KEY_VARIABLE), help=f"or ${API_KEY_VARIABLE}")
    adding.add_argument("--run-dir", type=Path, default=ROOT / ".run", metavar="FOLDER", help="RUN_DIR of `make run`")
    adding.add_argument("--timeout", type=float, default=TIMEOUT_S, metavar="SECONDS", help="how long to wait for it")
    for command in (checking, adding):
        command.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help="models.config")
    options = parser.parse_args(arguments)
    options.config = options.config.absolute()
    return options


if __name__ == "__main__":
    sys.exit(main())
