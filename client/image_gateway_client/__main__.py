"""Run the command line. An error that a user can fix is one message and exit status 2."""

import io
import sys
from http import HTTPStatus

import typer

from image_gateway_client.base_client import KEY_VARIABLE
from image_gateway_client.cli import app
from image_gateway_client.commands.serve import ServeError
from image_gateway_client.console import printable
from image_gateway_client.errors import ImageGatewayError, ProblemError
from image_gateway_client.resume import OutputError


def main() -> None:
    """Run `image-gateway` and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text (PEP 383)
    try:
        app(prog_name="image-gateway")
    except (ImageGatewayError, OutputError, ServeError, OSError) as error:
        typer.echo(f"error: {_describe(error)}", err=True)
        if isinstance(error, ProblemError) and error.problem.status == HTTPStatus.UNAUTHORIZED:
            typer.echo(f"Pass an API key of the gateway with --api-key, or set {KEY_VARIABLE}.", err=True)
        sys.exit(2)


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.strerror}: {error.filename!r}"
    return str(error) if isinstance(error, ServeError) else printable(str(error))


if __name__ == "__main__":
    main()
