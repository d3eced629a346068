"""Options that several subcommands have, and the client that they describe."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from image_gateway_client.base_client import KEY_VARIABLE, MAX_IMAGE_BYTES, URL_VARIABLE
from image_gateway_client.client import Client
from image_gateway_client.console import is_terminal
from image_gateway_client.endpoint import MAX_TIMEOUT_S, MEBIBYTE
from image_gateway_client.files import STDIN, describe_left_out, find_images
from image_gateway_client.outputs import Format, choose_format

Url = Annotated[str, typer.Option("--url", "-u", envvar=URL_VARIABLE, help="URL of the gateway.")]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar=KEY_VARIABLE, help="API key, if the gateway requires one.", show_default=False),
]
Timeout = Annotated[
    float, typer.Option(min=0.001, max=MAX_TIMEOUT_S, help="Maximum seconds for one request, including retries.")
]
Retries = Annotated[int, typer.Option(min=0, help="Maximum retries when the gateway is busy or a connection breaks.")]
Json = Annotated[bool, typer.Option("--json", help="Print all details as JSON.")]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Name of the model; by default the gateway's default model.", show_default=False
    ),
]
Version = Annotated[
    int | None, typer.Option(min=0, help="Version of the model; by default the newest.", show_default=False)
]
Label = Annotated[str | None, typer.Option(help="Label of the version, such as stable.", show_default=False)]
TopK = Annotated[int, typer.Option("--top-k", "-k", min=1, help="Number of classes to return.")]
Threshold = Annotated[
    float | None, typer.Option(min=0, max=1, help="Minimum score of a returned class.", show_default=False)
]
OutputFormat = Annotated[
    Format | None,
    typer.Option(
        "--format", "-f", help="Format of the output.", show_default="by the suffix of --out, otherwise table"
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="File to write. A JSONL or CSV file of an earlier run is continued.",
        show_default=False,
        callback=lambda path: None if path is not None and str(path) in STDOUT_NAMES else path,
    ),
]
MaxMib = Annotated[int, typer.Option(min=1, max=MAX_IMAGE_BYTES // MEBIBYTE, help="Maximum size of a file, in MiB.")]

STDOUT_NAMES = frozenset({"-", "/dev/stdout", "/dev/fd/1"})
DEFAULT_TIMEOUT_S = 60.0
DEFAULT_RETRIES = 3


@contextmanager
def open_client(  # noqa: PLR0913  # one for each option
    url: str, api_key: str | None, timeout_s: float, retries: int, *, connections: int = 1, max_mib: int = 64
) -> Iterator[Client]:
    """Yield the client that the options describe.

    Raises:
        typer.BadParameter: An option or argument is not valid.
    """
    with (
        as_bad_parameter(),
        Client(
            url,
            api_key=api_key or None,
            timeout_s=timeout_s,
            retries=retries,
            connections=connections,
            max_image_bytes=max_mib * MEBIBYTE,
        ) as client,
    ):
        yield client


@contextmanager
def as_bad_parameter(*, hint: str | None = None) -> Iterator[None]:
    """Turn an error of a value into one of the command line.

    Raises:
        typer.BadParameter: The block raised a ValueError.
    """
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from error


def find_format(out: Path | None, output_format: Format | None) -> Format:
    """Return the format of the output.

    Raises:
        typer.BadParameter: The suffix of the file is not that of a format.
    """
    with as_bad_parameter(hint="--out"):
        return choose_format(out, output_format)


def list_images(arguments: list[str]) -> list[str]:
    """Return the images that the arguments name, and report what is left out.

    Raises:
        typer.BadParameter: There are none, or one is the standard input, which is closed.
    """
    found_images = find_images(arguments)
    for folder in found_images.empty_folders:
        typer.echo(f"{folder}: no images in this folder", err=True)
    if left_out := describe_left_out(found_images.left_out, found_images.linked_folders):
        typer.echo(left_out, err=True)
    if not found_images.images:
        raise typer.BadParameter("there are no images to classify")
    if STDIN in found_images.images and sys.stdin is None:
        raise typer.BadParameter("- is the standard input, which is closed. Name a file instead.")
    return found_images.images


def is_bar_shown(out: Path | None, output_format: Format) -> bool:
    """Return whether a progress bar is shown: not if lines of results appear on the same terminal."""
    streaming = out is None and output_format is not Format.TABLE and is_terminal(sys.stdout)
    return is_terminal(sys.stderr) and not streaming
