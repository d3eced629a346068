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

from image_gateway_client.api import MEBIBYTE, Client, Options, predict_path
from image_gateway_client.batches import Outcome
from image_gateway_client.console import counting_progress, print_model, print_models
from image_gateway_client.errors import ImageGatewayError, Problem
from image_gateway_client.files import find, opened
from image_gateway_client.keys import KeyNameError, add_key
from image_gateway_client.outputs import RESUMABLE, SUFFIXES, Format, Writer, open_output

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
)

keys = typer.Typer(no_args_is_help=True, help="Make the API keys of a gateway; for its operator.")
app.add_typer(keys, name="keys")

Url = Annotated[str, typer.Option(envvar="IMAGE_GATEWAY_URL", help="Where the gateway listens.")]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="IMAGE_GATEWAY_API_KEY", help="Key, where the gateway wants one.", show_default=False),
]
Timeout = Annotated[float, typer.Option(min=0.001, help="Seconds for one request, further tries included.")]
Retries = Annotated[int, typer.Option(min=0, help="Further tries when the gateway is busy or a connection breaks.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, with all that the gateway tells.")]

DEFAULT_URL = "http://localhost:8080"
DEFAULT_TIMEOUT_S = 60.0
DEFAULT_RETRIES = 3
DEFAULT_KEYS_FILE = Path("api-keys")


@app.callback(invoke_without_command=True)
def describe(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True)] = False
) -> None:
    """Ask an Image Gateway which classes pictures belong to.

    The exit status is 0 when all went well, 1 when a picture or the gateway's health had a problem, and 2 when the
    command cannot be understood or the gateway not be used.
    """
    if version:
        typer.echo(f"image-gateway {installed_version('image-gateway-client')}")
        raise typer.Exit


@app.command()
def classify(  # noqa: PLR0913  # each is an option of the command line
    images: Annotated[
        list[str],
        typer.Argument(metavar="PICTURES", help="Files, folders, URLs, or - for one picture on the standard input."),
    ],
    *,
    model: Annotated[
        str | None, typer.Option(help="Model to ask; else the gateway's default.", show_default=False)
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=0, help="Its version; else the newest.", show_default=False)
    ] = None,
    label: Annotated[str | None, typer.Option(help="Name of its version, such as stable.", show_default=False)] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Classes to rank.")] = 1,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score of a class named.", show_default=False)
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="How to write the answers.", show_default="by the suffix of --out, else table"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. A JSONL or CSV file that exists is gone on with.", show_default=False),
    ] = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most pictures in one request.")] = 16,
    connections: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 4,
    max_mib: Annotated[int, typer.Option(min=1, help="Largest file that is sent.")] = 64,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    retries: Retries = DEFAULT_RETRIES,
) -> None:
    """Ask about pictures, in batches, several at once. One that has a problem does not stop the others.

    Folders are searched for pictures with all folders below. With --out in JSONL or CSV, pictures that are answered in
    the file already are left out, so that a run which was stopped goes on by the same command.
    """
    form = form or (SUFFIXES.get(out.suffix.lower(), Format.TABLE) if out else Format.TABLE)
    options = _checked(Options(model=model, version=version, label=label, top_k=top_k, threshold=threshold))
    names = _find(images)
    with (
        _client(url, api_key, timeout, retries, connections=connections, max_mib=max_mib) as client,
        _resuming(out if form in RESUMABLE else None),
        open_output(out, form, top_k, model) as output,
    ):
        waiting = [name for name in names if name not in output.answered]
        # A bar and lines on the same terminal would break each other up.
        streaming = out is None and form is not Format.TABLE and sys.stdout.isatty()
        with counting_progress(len(waiting), shown=sys.stderr.isatty() and not streaming) as on_answer:
            sources = (opened(name, sys.stdin.buffer) for name in waiting)
            outcomes = client.classify_many(sources, batch_size=batch_size, **options)
            failed = _write(output.writer, zip(waiting, outcomes, strict=True), on_answer)
    _summarise(len(names), len(names) - len(waiting), failed)
    if failed:
        raise typer.Exit(1)


@app.command()
def models(  # noqa: PLR0913  # each is an option of the command line
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Tell all about this one.", show_default=False)
    ] = None,
    *,
    as_json: Json = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    timeout: Timeout = DEFAULT_TIMEOUT_S,
    retries: Retries = DEFAULT_RETRIES,
) -> None:
    """List the models, or tell all about one: its versions, classes and figures."""
    with _client(url, api_key, timeout, retries) as client:
        told = client.models() if name is None else [client.model(name)]
    if as_json:
        documents = [asdict(model) for model in told]
        typer.echo(json.dumps(documents if name is None else documents[0], ensure_ascii=False, indent=1))
    elif name is None:
        print_models(told, sys.stdout)
    else:
        print_model(told[0], sys.stdout)


@app.command()
def health(url: Url = DEFAULT_URL, api_key: ApiKey = None, timeout: Timeout = 5.0) -> None:
    """Tell whether the gateway can be used: status 0 if so, 1 if its model does not answer, 2 if nobody does."""
    with _client(url, api_key, timeout, retries=0) as client:
        state = client.health()
    if state.model:
        typer.echo(f"{url} is ready: {state.model.name} version {state.model.version} answers")
    else:
        typer.echo(f"{url} is not ready: {state.problem}")
        raise typer.Exit(1)


@keys.command("add")
def keys_add(
    name: Annotated[str, typer.Argument(help="Whose key it is; told in the gateway's log.")],
    *,
    file: Annotated[
        Path, typer.Option(envvar="GATEWAY_API_KEYS_FILE", help="The gateway's file of keys; made where there is none.")
    ] = DEFAULT_KEYS_FILE,
) -> None:
    """Make an API key, print it once, and keep only a salted hash of it in the gateway's file."""
    try:
        key = add_key(name, file)
    except KeyNameError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(key)
    typer.echo(f"{file} has its hash. The key itself is kept nowhere and cannot be shown again.", err=True)


@contextmanager
def _client(  # noqa: PLR0913  # they come from as many options
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
def _resuming(out: Path | None) -> Iterator[None]:
    """Say how to go on when a run ends before all is answered."""
    try:
        yield
    except (ImageGatewayError, KeyboardInterrupt):
        if out:
            typer.echo(f"What has been answered is in {out}; the same command goes on from there.", err=True)
        raise


def _checked(options: Options) -> Options:
    try:
        predict_path(options)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return options


def _write(writer: Writer, outcomes: Iterable[tuple[str, Outcome]], on_answer: Callable[[], None]) -> int:
    """Write the outcomes as they come; return how many are problems."""
    failed = 0
    for name, outcome in outcomes:
        writer.write(name, outcome)
        failed += isinstance(outcome, Problem)
        on_answer()
    return failed


def _find(arguments: list[str]) -> list[str]:
    found = find(arguments)
    for folder in found.empty:
        typer.echo(f"{folder}: no picture in this folder", err=True)
    if not found.images:
        raise typer.BadParameter("there is no picture to ask about")
    return found.images


def _summarise(images: int, before: int, failed: int) -> None:
    if images > 1 or before:
        earlier = f", {before} answered by an earlier run" if before else ""
        typer.echo(
            f"{images} pictures: {images - before - failed} answered{earlier}, {failed} with a problem", err=True
        )
