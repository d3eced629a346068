"""What is checked before the stack starts, so that a mistake is one sentence."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from gateway.access.keys import Keys, KeysError
from gateway.settings import PREFIX, Settings
from tools import invocation, nginx, ports, tensorflow_extra
from tools.models_config import describe_fault, display_path, read_entries
from tools.programs import Options
from tools.terminal import say


class StartError(Exception):
    """The stack cannot be started; the message says why and what to do."""


def resolve_paths(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the gateway's settings that are paths as absolute ones: its programs run in another folder than the user.

    Args:
        environment: Environment variables; those that are not set, or empty, are left out.
        folder: The folder that relative paths are meant from.
    """
    paths = {}
    for name, field in Settings.model_fields.items():
        variable = PREFIX + name.upper()
        if Path in (field.annotation, *get_args(field.annotation)) and (value := environment.get(variable, "").strip()):
            paths[variable] = str(folder / value)
    return paths


def check_keys(settings: Settings) -> None:
    """Check the API keys as the gateway does when it starts.

    Raises:
        StartError: They are malformed, or their file cannot be read.
    """
    try:
        Keys(settings.api_keys, settings.api_keys_file)
    except KeysError as error:
        raise StartError(str(error)) from error


def check_models(config: Path, settings: Settings) -> None:
    """Check that the file that lists the models is there and has those that the settings name.

    Raises:
        StartError: It is missing, or lacks a model.
        ModelsConfigError: It cannot be used.
    """
    if not config.is_file():
        fault = "is a folder" if config.is_dir() else "does not exist"
        raise StartError(
            f"{display_path(config)} {fault}. Set {invocation.option('MODELS_CONFIG')} to a file that lists the models."
        )
    entries = list(read_entries(config))
    named = [("DEFAULT_MODEL", settings.default_model), *(("MODELS", name) for name in settings.models)]
    for setting, name in named:
        if name and name not in entries:
            raise StartError(
                f"{PREFIX}{setting}: {name!r} is not in {display_path(config)}, which lists {', '.join(entries)}."
            )


def check_host(host: str) -> None:
    """Check that programs can listen on an address.

    Raises:
        StartError: They cannot.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except (OSError, UnicodeError) as error:
        raise StartError(
            f"{invocation.option('HOST', host)} is not an address of this machine. "
            f"Use {invocation.option('HOST', '127.0.0.1')}, or 0.0.0.0 for all addresses."
        ) from error


def check_ports(options: Options, repeated: Mapping[str, object]) -> None:
    """Check that all ports are free and different.

    Args:
        options: Where the programs listen.
        repeated: The options of the command that is proposed, by variable; free ports replace those that are in use.

    Raises:
        StartError: One is not; the message has a command with free ones.
    """
    obstacles = ports.find_obstacles(options.ports)
    if not obstacles:
        return
    reasons = [f"{invocation.option(name, options.ports[name])} {reason}" for name, reason in obstacles.items()]
    command = invocation.with_options({**repeated, **ports.choose_others(options.ports, obstacles)})
    raise StartError(f"{'; '.join(reasons)}. Choose other ports: {command}")


def check_jobs_folder(settings: Settings) -> None:
    """Check that jobs can be written to their folder.

    Raises:
        StartError: They cannot.
    """
    if settings.jobs != "sqlite":
        return
    folder = settings.jobs_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{PREFIX}JOBS_DIR={folder} cannot be used: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise StartError(f"{PREFIX}JOBS_DIR={folder} cannot be written to.")


def install_tensorflow(config: Path) -> list[str]:
    """Install TensorFlow if models need it; return a line for each of them if that fails and others need none.

    Raises:
        ModelsConfigError: The configuration cannot be used.
        TensorFlowError: It cannot be installed, and without it no model can be served.
    """
    names = tensorflow_extra.find_models(config)
    try:
        tensorflow_extra.ensure(names)
    except tensorflow_extra.TensorFlowError as error:
        if len(names) == len(read_entries(config)) or not tensorflow_extra.is_environment_intact():
            raise
        return [describe_fault(name, str(error)) for name in names]
    return []


def find_nginx(options: Options) -> str | None:
    """Return the path of nginx; None, after a line that says so, if the gateway is to be served directly.

    Raises:
        StartError: HTTPS needs nginx.
    """
    path = nginx.find() if options.use_nginx else None
    if path is None and options.tls_dir:
        how = f"install it by `{invocation.make('nginx')}`" if options.use_nginx else "leave out --without-nginx"
        raise StartError(f"{invocation.option('TLS_DIR')} is set, but HTTPS needs nginx: {how}.")
    if path is None and options.use_nginx:
        say(
            f"nginx is not installed: the gateway itself listens on port {options.port}. "
            f"To put nginx in front of it: {invocation.make('nginx')}"
        )
    return path
