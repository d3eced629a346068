"""`image-gateway serve`: start the service where it is installed."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

MARKS = ("tools/run.py", "gateway/__init__.py", "Makefile")
"""Files that a checkout of the service has."""
FOLDER_VARIABLE = "IMAGE_GATEWAY_SERVE_FOLDER"
"""Tells the service that this command starts it, and from which folder, so that its messages fit."""
ADVICE = """This folder is not in a checkout of Image Gateway, which contains the service. Start it in one of two ways:

  git clone URL-OF-THE-REPOSITORY image-gateway && cd image-gateway && make run
  docker compose up        (in such a checkout, with Docker)

Without the service, this command classifies images with a gateway that runs elsewhere:

  image-gateway classify photo.jpg --url URL"""


class ServeError(Exception):
    """The service cannot be started here; the message says what to do."""


def serve(  # noqa: PLR0913  # each is an option of the command line
    context: typer.Context,
    *,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; 0.0.0.0 for all.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", "-p", min=1, max=65535, help="Port of the service.", show_default="8080")
    ] = None,
    gateway_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the gateway behind nginx.", show_default="8000")
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the model server, gRPC.", show_default="8500")
    ] = None,
    rest_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the model server, REST.", show_default="8501")
    ] = None,
    models_config: Annotated[
        Path | None, typer.Option(help="File that lists the models.", show_default="serving_models/models.config")
    ] = None,
    batching_config: Annotated[
        Path | None, typer.Option(help="Batching of the model server.", show_default=False)
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Folder for logs and temporary files.", show_default=".run")
    ] = None,
    tls_dir: Annotated[
        Path | None, typer.Option(help="Serve HTTPS with tls.crt and tls.key from this folder.", show_default=False)
    ] = None,
) -> None:
    """Serve the models until Ctrl-C, like `make run`. The service must be installed.

    Further options are those of `python -m tools.run`. Settings of the gateway are read from the environment; relative
    paths in them, as in options, begin at the current folder.
    """
    checkout = find_checkout(Path.cwd(), Path(sys.prefix))
    numbers = {"port": port, "gateway-port": gateway_port, "grpc-port": grpc_port, "rest-port": rest_port}
    paths = {
        "models-config": models_config,
        "batching-config": batching_config,
        "run-dir": run_dir,
        "tls-dir": tls_dir,
    }
    values = {"host": host, **numbers, **{name: path and path.absolute() for name, path in paths.items()}}
    arguments = [f"--{name}={value}" for name, value in values.items() if value is not None]
    python = find_python(checkout)
    os.environ[FOLDER_VARIABLE] = os.fspath(Path.cwd())
    os.chdir(checkout)
    os.execv(python, [python, "-m", "tools.run", *arguments, *context.args])  # noqa: S606  # the checkout's own program


def find_checkout(folder: Path, environment: Path) -> Path:
    """Return the checkout around a folder or, if it is in none, the one whose environment this is.

    Raises:
        ServeError: There is none.
    """
    for candidate in (folder, *folder.parents, environment.parent):
        if all((candidate / mark).is_file() for mark in MARKS):
            return candidate
    raise ServeError(ADVICE)


def find_python(checkout: Path) -> str:
    """Return the interpreter of the environment that `make run` has made in a checkout.

    Raises:
        ServeError: It has not been made yet, or the service does not run on this system.
    """
    if sys.platform == "win32":
        raise ServeError("The service needs Linux or macOS. On Windows, run it in WSL2 or with Docker Compose.")
    python = checkout / ".venv" / "bin" / "python"
    if not python.exists() or not any((checkout / ".venv").glob(".*-ready")):
        command = f"make -C {shlex.quote(os.fspath(checkout))} run"
        raise ServeError(f"The service in {checkout} is not installed yet. Run once: {command}")
    return str(python)
