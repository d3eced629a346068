"""Run the command line. An error that a user can fix is one message and exit status 2."""

import io
import sys

import typer

from image_gateway_client.cli import app
from image_gateway_client.errors import ImageGatewayError
from image_gateway_client.resume import OutputError


def main() -> None:
    """Run `image-gateway` and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text (PEP 383)
    try:
        app(prog_name="image-gateway")
    except (ImageGatewayError, OutputError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
