"""`image-gateway classify`."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from image_gateway_client.answers import Outcome
from image_gateway_client.commands import options
from image_gateway_client.console import count_images, counting_progress
from image_gateway_client.endpoint import DEFAULT_URL
from image_gateway_client.errors import ImageGatewayError, Problem
from image_gateway_client.files import is_stream, resolve_stdin
from image_gateway_client.options import Options, check_target
from image_gateway_client.outputs import RESUMABLE, Writer, open_output
from image_gateway_client.records import Item


def classify(  # noqa: PLR0913  # each is an option of the command line
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGES", help="Files, folders, URLs, or - for an image on the standard input."),
    ],
    *,
    model: options.ModelName = None,
    version: options.Version = None,
    label: options.Label = None,
    top_k: options.TopK = 1,
    threshold: options.Threshold = None,
    output_format: options.OutputFormat = None,
    out: options.Out = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.ApiKey = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Maximum number of images in a request.")] = 16,
    connections: Annotated[int, typer.Option(min=1, help="Maximum number of requests at once.")] = 4,
    max_mib: options.MaxMib = 64,
    timeout: options.Timeout = options.DEFAULT_TIMEOUT_S,
    retries: options.Retries = options.DEFAULT_RETRIES,
) -> None:
    """Classify images in batches. An image that fails does not stop the others.

    Folders are searched recursively. With --out in JSONL or CSV, images whose results are already in the file are
    skipped, so that the same command resumes an interrupted run.
    """
    output_format = options.find_format(out, output_format)
    selected = Options(model=model, version=version, label=label, top_k=top_k, threshold=threshold)
    with options.as_bad_parameter():
        check_target(selected)
    names = options.list_images(images)
    with (
        options.open_client(url, api_key, timeout, retries, connections=connections, max_mib=max_mib) as client,
        _resume_hint(out if output_format in RESUMABLE else None) as note_result,
        open_output(out, output_format, top_k, model, version=version) as output,
    ):
        remaining = [name for name in names if name not in output.finished or is_stream(name)]
        shown = options.is_bar_shown(out, output_format)
        with counting_progress(len(remaining), shown=shown) as advance:
            outcomes = client.classify_many(map(resolve_stdin, remaining), batch_size=batch_size, **selected)
            failed = write(output.writer, zip(remaining, outcomes, strict=True), note_result, advance)
    _summarize(len(names), len(names) - len(remaining), failed)
    if failed:
        raise typer.Exit(1)


def write(writer: Writer, outcomes: Iterable[tuple[Item, Outcome]], *on_outcome: Callable[[], None]) -> int:
    """Write each outcome as soon as it is there, then call the functions; return the number of problems."""
    failed = 0
    for name, outcome in outcomes:
        writer.write(name, outcome)
        failed += isinstance(outcome, Problem)
        for report in on_outcome:
            report()
    return failed


@contextmanager
def _resume_hint(out: Path | None) -> Iterator[Callable[[], None]]:
    """Print how to resume if a run ends early, but has called the yielded function for a result."""
    has_results = Event()
    try:
        yield has_results.set
    except (ImageGatewayError, KeyboardInterrupt):
        if out and has_results.is_set():
            typer.echo(f"The results so far are in {out}. Run the same command again to resume.", err=True)
        raise


def _summarize(total: int, finished: int, failed: int) -> None:
    if total > 1 or finished:
        earlier = f", {finished} by an earlier run" if finished else ""
        classified = total - finished - failed
        typer.echo(f"{count_images(total)}: {classified} classified{earlier}, {failed} failed", err=True)
