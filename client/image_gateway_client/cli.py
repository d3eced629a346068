"""The command `image-gateway`."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import typer

from image_gateway_client.api import Client, Options, predict_path
from image_gateway_client.batches import Outcome
from image_gateway_client.console import counting_progress, print_model, print_models
from image_gateway_client.errors import ImageGatewayError, Problem
from image_gateway_client.files import describe_left_out, find_images, resolve_stdin
from image_gateway_client.images import MEBIBYTE
from image_gateway_client.keys import KeyNameError, add_key
from image_gateway_client.outputs import RESUMABLE, SUFFIXES, Format, Writer, open_output

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)

keys = typer.Typer(no_args_is_help=True, help="Create the API keys of a gateway; for its operator.")
app.add_typer(keys, name="keys")

Url = Annotated[str, typer.Option(envvar="IMAGE_GATEWAY_URL", help="URL of the gateway.")]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="IMAGE_GATEWAY_API_KEY", help="API key, if the gateway requires one.", show_default=False),
]
Timeout = Annotated[float, typer.Option(min=0.001, help="Maximum seconds for one request, including retries.")]
Retries = Annotated[int, typer.Option(min=0, help="Maximum retries when the gateway is busy or a connection breaks.")]
Json = Annotated[bool, typer.Option("--json", help="Print the complete answer as JSON.")]

DEFAULT_URL = "http://localhost:8080"
DEFAULT_TIMEOUT_S = 60.0
DEFAULT_RETRIES = 3
DEFAULT_KEYS_FILE = Path("api-keys")


@app.callback(invoke_without_command=True)
def describe(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False
) -> None:
    """Classify images with an Image Gateway.

    The exit status is 0 on success, 1 if an image failed or the gateway is not ready, and 2 if the command is not valid
    or the gateway cannot be used.
    """
    if version:
        typer.echo(f"image-gateway {installed_version('image-gateway-client')}")
        raise typer.Exit


@app.command()
def classify(  # noqa: PLR0913  # each is an option of the command line
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGES", help="Files, folders, URLs, or - for an image on the standard input."),
    ],
    *,
    model: Annotated[
        str | None, typer.Option(help="Name of the model; by default the gateway's default model.", show_default=False)
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=0, help="Version of the model; by default the newest.", show_default=False)
    ] = None,
    label: Annotated[str | None, typer.Option(help="Label of the version, such as stable.", show_default=False)] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Number of classes to return.")] = 1,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Minimum score of a returned class.", show_default=False)
    ] = None,
    output_format: Annotated[
        Format | None,
        typer.Option("--format", help="Format of the output.", show_default="by the suffix of --out, otherwise table"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. An existing JSONL or CSV file is continued.", show_default=False),
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Maximum number of images in a request.")] = 16,
    connections: Annotated[int, typer.Option(min=1, help="Maximum number of requests at once.")] = 4,
    max_mib: Annotated[int, typer.Option(min=1, help="Maximum size of a file, in MiB.")] = 64,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    retries: Retries = DEFAULT_RETRIES,
) -> None:
    """Classify images in batches. An image that fails does not stop the others.

    Folders are searched recursively. With --out in JSONL or CSV, images whose results are already in the file are
    skipped, so that the same command resumes an interrupted run.
    """
    output_format = output_format or (SUFFIXES.get(out.suffix.lower(), Format.TABLE) if out else Format.TABLE)
    options = _check_options(Options(model=model, version=version, label=label, top_k=top_k, threshold=threshold))
    names = _list_images(images)
    with (
        _client(url, api_key, timeout, retries, connections=connections, max_mib=max_mib) as client,
        _resume_hint(out if output_format in RESUMABLE else None),
        open_output(out, output_format, top_k, model) as output,
    ):
        remaining = [name for name in names if name not in output.finished]
        # A progress bar and output lines on the same terminal would disturb each other.
        streaming = out is None and output_format is not Format.TABLE and sys.stdout.isatty()
        with counting_progress(len(remaining), shown=sys.stderr.isatty() and not streaming) as on_outcome:
            sources = (resolve_stdin(name, sys.stdin.buffer) for name in remaining)
            outcomes = client.classify_many(sources, batch_size=batch_size, **options)
            failed = _write(output.writer, zip(remaining, outcomes, strict=True), on_outcome)
    _summarize(len(names), len(names) - len(remaining), failed)
    if failed:
        raise typer.Exit(1)


@app.command()
def models(  # noqa: PLR0913  # each is an option of the command line
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Show the details of this model.", show_default=False)
    ] = None,
    *,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    retries: Retries = DEFAULT_RETRIES,
) -> None:
    """List the models, or show the details of one: its versions, classes and metrics."""
    with _client(url, api_key, timeout, retries) as client:
        details = client.models() if name is None else [client.model(name)]
    if as_json:
        documents = [asdict(model) for model in details]
        typer.echo(json.dumps(documents if name is None else documents[0], ensure_ascii=False, indent=1))
    elif name is None:
        print_models(details, sys.stdout)
    else:
        print_model(details[0], sys.stdout)


@app.command()
def health(url: Url = DEFAULT_URL, api_key: ApiKey = None, timeout: Timeout = 5.0) -> None:
    """Check the gateway: status 0 if it is ready, 1 if its default model cannot be used, 2 if it does not respond."""
    with _client(url, api_key, timeout, retries=0) as client:
        state = client.health()
    if state.model:
        typer.echo(f"{url} is ready: {state.model.name} version {state.model.version} is served")
    else:
        typer.echo(f"{url} is not ready: {state.problem}")
        raise typer.Exit(1)


@keys.command("add")
def keys_add(
    name: Annotated[str, typer.Argument(help="Name of the key's owner; it appears in the gateway's log.")],
    *,
    file: Annotated[
        Path,
        typer.Option(envvar="GATEWAY_API_KEYS_FILE", help="The gateway's file of keys; created if it does not exist."),
    ] = DEFAULT_KEYS_FILE,
) -> None:
    """Create an API key, print it once, and store only a salted hash of it in the gateway's file."""
    try:
        key = add_key(name, file)
    except KeyNameError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(key)
    typer.echo(f"{file} contains its hash. The key itself is not stored and cannot be shown again.", err=True)


@contextmanager
def _client(  # noqa: PLR0913  # one for each option
    url: str, api_key: str | None, timeout_s: float, retries: int, *, connections: int = 1, max_mib: int = 1
) -> Iterator[Client]:
    try:
        client = Client(
            url,
            api_key=api_key or None,
            timeout_s=timeout_s,
            retries=retries,
            connections=connections,
            max_image_bytes=max_mib * MEBIBYTE,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with client:
        yield client


@contextmanager
def _resume_hint(out: Path | None) -> Iterator[None]:
    """Print how to resume if a run ends early."""
    try:
        yield
    except (ImageGatewayError, KeyboardInterrupt):
        if out:
            typer.echo(f"The results so far are in {out}. Run the same command again to resume.", err=True)
        raise


def _check_options(options: Options) -> Options:
    try:
        predict_path(options)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return options


def _write(writer: Writer, outcomes: Iterable[tuple[str, Outcome]], on_outcome: Callable[[], None]) -> int:
    """Write each outcome as soon as it is there; return the number of problems."""
    failed = 0
    for name, outcome in outcomes:
        writer.write(name, outcome)
        failed += isinstance(outcome, Problem)
        on_outcome()
    return failed


def _list_images(arguments: list[str]) -> list[str]:
    found_images = find_images(arguments)
    for folder in found_images.empty_folders:
        typer.echo(f"{folder}: no images in this folder", err=True)
    if left_out := describe_left_out(found_images.left_out):
        typer.echo(left_out, err=True)
    if not found_images.images:
        raise typer.BadParameter("there are no images to classify")
    return found_images.images


def _summarize(total: int, finished: int, failed: int) -> None:
    if total > 1 or finished:
        earlier = f", {finished} by an earlier run" if finished else ""
        typer.echo(f"{total} images: {total - finished - failed} classified{earlier}, {failed} failed", err=True)
