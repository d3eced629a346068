"""Show a progress bar and tables."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TextIO

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from image_gateway_client.answers import Model, Outcome, VersionState
from image_gateway_client.errors import Problem
from image_gateway_client.jobs.job import Job

PIPE_WIDTH = 10_000
"""Width of a table that is not on a terminal, so that nothing is folded or cut off."""

MAX_LABELS = 20
CONTROLS = re.compile("[\x7f-\x9f]")
"""Control characters that JSON may contain unescaped (RFC 8259 section 7)."""


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream is a terminal; it is None if it was closed when the program started."""
    return stream is not None and stream.isatty()


class _EchoHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        echo(record.getMessage(), to_stderr=True)


@contextmanager
def echoing_warnings() -> Iterator[None]:
    """Print what the library warns of during the block."""
    logger, handler = logging.getLogger("image_gateway_client"), _EchoHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def counting_progress(total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show a progress bar for more than one step, if `shown`; each call of the yielded function advances it by one."""
    with _progress(shown=shown and total > 1) as bar:
        task = bar.add_task("classifying", total=total)
        yield lambda: bar.advance(task)


@contextmanager
def job_progress(*, shown: bool) -> Iterator[Callable[[Job], None]]:
    """Show a progress bar of a job, if `shown`; each call of the yielded function moves it to the job's state."""
    with _progress(shown=shown) as bar:
        task = bar.add_task("queued", total=None)
        yield lambda job: bar.update(task, description=printable(job.status), total=job.total, completed=job.processed)


def _progress(*, shown: bool) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # The standard output is for the results; rich would print them above the bar.
    return Progress(
        *columns, console=Console(stderr=True), disable=not shown, redirect_stdout=False, redirect_stderr=False
    )


def print_outcomes(outcomes: Iterable[tuple[str, Outcome]], stream: TextIO) -> None:
    """Print a table of images and their classes; for a multi-label model, those at or above its threshold."""
    table = Table("image", "classes", box=SIMPLE_HEAD)
    for image, outcome in outcomes:
        table.add_row(_plain(image), _cell(outcome))
    if table.row_count:
        _print(table, stream)


def _cell(outcome: Outcome) -> Text:
    if isinstance(outcome, Problem):
        return _plain(str(outcome), "red")
    classes = outcome.predictions if outcome.classes is None else outcome.classes
    text = ", ".join(f"{item.label} {item.score:.1%}" for item in classes) or "none above the threshold"
    return _plain(f"not sure, perhaps {text}" if outcome.confident is False else text)


def print_job(job: Job, stream: TextIO) -> None:
    """Print the state of a job."""
    model = job.model
    version = "" if model is None or model.version is None else f" version {model.version}"
    _print_details(
        {
            "job": job.id,
            "status": job.status,
            "images": describe_counts(job),
            "model": "" if model is None else f"{model.name}{version}",
            **{name: _show_time(getattr(job, name)) for name in ("created", "started", "finished", "expires")},
            "webhook": "" if job.webhook is None else f"{job.webhook.url} ({job.webhook.status})",
            "problem": "" if job.problem is None else str(job.problem),
        },
        stream,
    )


def describe_counts(job: Job) -> str:
    """Return such as `7 of 10 have a result, 1 failed`."""
    return f"{job.processed} of {job.total} have a result, {job.failed} failed"


def _show_time(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone().isoformat(" ", "seconds")


def print_models(models: Sequence[Model], stream: TextIO) -> None:
    """Print a table of models."""
    table = Table("model", "version", "task", "classes", "title", box=SIMPLE_HEAD)
    for model in models:
        name = f"{model.name} (default)" if model.default else model.name
        if model.available:
            cells = (str(model.version), model.task, str(len(model.labels)), model.title)
            table.add_row(_plain(name), *map(_plain, cells))
        else:
            table.add_row(_plain(name), "-", "-", "-", _plain(model.reason or "not available", "red"))
    _print(table, stream)


def print_model(model: Model, stream: TextIO) -> None:
    """Print the details of one model."""
    _print_details(_details(model), stream)


def _details(model: Model) -> Mapping[str, str]:
    provenance = model.card.get("provenance") or {}
    metrics = model.card.get("metrics") or {}
    abstain_below = model.card.get("abstain_below")
    return {
        "name": f"{model.name} (default)" if model.default else model.name,
        "title": model.title,
        "description": model.description,
        "not available": "" if model.available else model.reason or "no version is available",
        "versions": ", ".join(_describe_version(item) for item in model.versions),
        "task": model.task,
        "classes": _summarize(model.labels),
        "not sure": f"below a confidence of {abstain_below:.1%}" if isinstance(abstain_below, int | float) else "",
        "metrics": ", ".join(f"{name} {value}" for name, value in metrics.items() if isinstance(value, int | float)),
        "licence": str(provenance.get("licence") or provenance.get("license") or ""),
    }


def _describe_version(item: VersionState) -> str:
    labels = f" ({', '.join(item.labels)})" if item.labels else ""
    reason = f": {item.reason}" if item.reason else ""
    return f"{item.version}{labels} {item.state}{reason}"


def _summarize(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - MAX_LABELS} more" if len(labels) > MAX_LABELS else ""
    return f"{len(labels)}: {', '.join(labels[:MAX_LABELS])}{more}" if labels else ""


def _plain(text: str, style: str = "") -> Text:
    return Text(printable(text), style)


def printable(text: str) -> str:
    """Return text from outside without the characters that a terminal would interpret."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def echo(text: str, *, to_stderr: bool = False) -> None:
    """Print a line that may contain text from outside."""
    typer.echo(printable(text), err=to_stderr)


def echo_json(document: object) -> None:
    """Print JSON, with escapes for the characters that a terminal would interpret and JSON allows."""
    text = json.dumps(document, ensure_ascii=False, indent=1)
    typer.echo(CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


class PrintableStream:
    """A terminal on which lines may contain text from outside.

    Args:
        stream: The terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text without the characters that the terminal would interpret, except for the ends of lines."""
        return self._stream.write("\n".join(map(printable, text.split("\n"))))

    def flush(self) -> None:
        """Show what has been written."""
        self._stream.flush()


def count_images(count: int) -> str:
    """Return such as `1 image` or `2 images`."""
    return "1 image" if count == 1 else f"{count} images"


def _print_details(details: Mapping[str, str], stream: TextIO) -> None:
    table = Table.grid(padding=(0, 2))
    for name, value in details.items():
        if value:
            table.add_row(_plain(name, "bold"), _plain(value))
    _print(table, stream)


def _print(table: Table, stream: TextIO) -> None:
    Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH).print(table)
