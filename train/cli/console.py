"""Output of the commands: progress bars and tables."""

import errno
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from google.protobuf import text_format
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from tfs_api.protos import model_server_config_pb2
from train.commands import train_command
from train.data.download import OnProgress
from train.data.examples import Example, Splits
from train.errors import TrainError
from train.training.data_record import Reuse
from train.training.run_folder import RunFolder, has_checkpoint
from train.verification.verify import Comparison

if TYPE_CHECKING:  # imports TensorFlow, which would delay `python -m train --help`
    from train.training.loop import OnStep, Step

CONFIG_NAME = "models.config"
DEFAULT_CONFIG = Path("serving_models", CONFIG_NAME)
DEFAULT_URL = "http://localhost:8080"
GOLDEN_FOLDER = Path("assets.extra", "golden")
MAX_MISMATCHES = 20
PATH_PROBLEMS: Mapping[int, str] = {
    errno.ENOENT: "{path}: No such file or folder; check the path",
    errno.EISDIR: "{path} is a folder; expected a file",
    errno.ENOTDIR: "{path}: expected a folder, but it or a folder above it is a file",
    errno.EEXIST: "{path} is a file; expected a folder",
    errno.EACCES: "{path} may not be used; change its permissions, or name another path",
}
"""What to say instead of the operating system's words, by the number of its error."""
MAX_SKIPPED = 20

console = Console()


@contextmanager
def download_progress() -> Iterator[OnProgress]:
    """Show a progress bar for each file that is downloaded."""
    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def on_progress(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done, total=total)

        yield on_progress


@contextmanager
def training_progress() -> Iterator["OnStep"]:
    """Show a progress bar of all steps with the time left, and a line for each finished epoch."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("training", total=None)

        def on_step(step: "Step") -> None:
            description = f"epoch {min(step.epoch + 1, step.epochs)} of {step.epochs}"
            progress.update(task, completed=step.done, total=step.total, description=description)
            if step.completes_epoch:
                values = "  ".join(f"{name} {value:.4f}" for name, value in step.metrics.items())
                console.print(f"epoch {step.epoch}: {values}", soft_wrap=True)

        yield on_step


class OnDone(Protocol):
    """Advances a progress bar."""

    def __call__(self, count: int = 1, /) -> None:
        """Advance the bar by `count`."""


@contextmanager
def counting_progress(description: str, total: int) -> Iterator[OnDone]:
    """Show a progress bar that each call advances, by one unless stated otherwise."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count=1: progress.advance(task, count)


def print_run(run: RunFolder) -> None:
    """Print which folder a training writes to, unless it is the first of its name."""
    if run.is_resumed:
        line = f"continuing {run.path}"
    elif run.replaces_earlier:
        line = f"training in {run.path}, which replaces {run.earlier} when it has finished"
    elif run.earlier:
        line = (
            f"{run.earlier} is kept; this run is {run.path} (--overwrite replaces an earlier run, --resume continues an"
            " unfinished one)"
        )
    else:
        return
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_splits(splits: Splits, labels: Sequence[str]) -> None:
    """Print the number of images of each class in each part, and the skipped images."""
    parts = {"train": splits.train, "validation": splits.validation} | splits.tests
    table = Table("class", *parts)
    counts = [Counter(number for example in part for number in example.classes) for part in parts.values()]
    for number, label in enumerate(labels):
        table.add_row(escape(label), *(str(count[number]) for count in counts))
    table.add_section()
    table.add_row("images", *(str(len(part)) for part in parts.values()))
    console.print(table)
    for note in splits.notes:
        console.print(note, markup=False, soft_wrap=True)
    if splits.skipped:
        console.print(f"skipped: {len(splits.skipped)}")
    for name, reason in splits.skipped[:MAX_SKIPPED]:
        console.print(f"  {name} {reason}", markup=False, soft_wrap=True)
    if len(splits.skipped) > MAX_SKIPPED:
        console.print(f"  and {len(splits.skipped) - MAX_SKIPPED} more")


def print_reuse(run: Path, reuses: Sequence[Reuse]) -> None:
    """Warn of validation and test images that a run has learned from."""
    for reuse in reuses:
        console.print(
            f"warning: {run} has learned from {reuse.reused} of the {reuse.images} {reuse.part} images, so its figures"
            " are too good: the data set or its split has changed, or it started from the network of a run with another"
            " split; train again, or pass the previous data set with --data",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def describe_error(error: TrainError | OSError) -> str:
    """Describe an error that ends a command: what to do if the disk is full, and what was expected of a path.

    A note of the error is the command that continues what was interrupted, see `add_resume_command`.
    """
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        commands: Sequence[str] = getattr(error, "__notes__", ())
        advice = f"continue with: {commands[0]}" if commands else "run the command again"
        return f"{error}; free some space there and {advice}"
    if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
        problem = PATH_PROBLEMS.get(error.errno)
        return problem.format(path=error.filename) if problem else str(error)
    return str(error)


@contextmanager
def add_resume_command(run: RunFolder, data: Path | None) -> Iterator[None]:
    """Add the command that resumes a run to an error of the system within the block, if an epoch has finished.

    Args:
        run: The run.
        data: Folder of the data set, if it is not the configuration's.

    Raises:
        OSError: As within the block.
    """
    try:
        yield
    except OSError as error:
        if has_checkpoint(run.path):
            options = ["--data", data] if data else []
            error.add_note(train_command("fit", run.path, "--resume", *options))
        raise


def print_summary(summary: Mapping[str, Any]) -> None:
    """Print what `train.evaluation.assessment.summarise` returns, with the metrics of each class as a table."""
    ratios = {"precision": "precision", "recall": "recall", "f1": "F1", "average_precision": "avg. precision"}
    table = Table("class", "images", *ratios.values())
    for metrics in summary["per_class"]:
        table.add_row(
            escape(metrics["class"]), str(metrics["images"]), *(_format_ratio(metrics[name]) for name in ratios)
        )
    console.print(table)
    for name, metrics in ({"test": summary} | summary.get("further_tests", {})).items():
        console.print(f"{name}: {_format_headline(metrics)}", soft_wrap=True)
    console.print(_format_calibration(summary), soft_wrap=True)
    if "answered" in summary:
        share, accuracy = summary["answered"]["share"], summary["answered"]["accuracy"]
        console.print(
            f"abstaining below {summary['abstain_below']:.4f} leaves {share:.2%} of the test images with an answer;"
            f" accuracy of these answers: {_format_ratio(accuracy)}",
            soft_wrap=True,
        )
    for warning in summary.get("warnings", ()):
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)


def _format_calibration(summary: Mapping[str, Any]) -> str:
    sets = {"test": summary}
    if "validation" in summary:
        validation = summary["validation"]
        errors = {name: validation[f"{name}_after"] for name in ("calibration_error", "log_loss")}
        sets[f"{validation['images']} validation images, cross-validated"] = {**validation, **errors}
    metrics = {"calibration_error": "calibration error", "log_loss": "log loss"}
    effects = (
        f"{name}: "
        + ", ".join(f"{text} {values[key]:.4f} ({values[f'{key}_before']:.4f} before)" for key, text in metrics.items())
        for name, values in sets.items()
    )
    reason = ", because no other temperature improves cross-validation" if summary["temperature"] == 1 else ""
    return f"temperature {summary['temperature']:.4g}{reason}; {'; '.join(effects)}"


def _format_headline(metrics: Mapping[str, Any]) -> str:
    headline = f"{metrics['accuracy']:.2%} of {metrics['images']} images right"
    if "binary_accuracy" in metrics:
        headline += f", {metrics['binary_accuracy']:.2%} of all decisions"
        headline += f"; micro F1 {_format_ratio(metrics['micro_f1'])}"
    else:
        headline += f"; balanced accuracy {_format_ratio(metrics['balanced_accuracy'])}"
    headline += f", macro F1 {_format_ratio(metrics['macro_f1'])}"
    return f"{headline}; calibration error {metrics['calibration_error']:.4f}"


def _format_ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def print_comparison(name: str, comparison: Comparison, examples: Sequence[Example]) -> None:
    """Print how predictions over HTTP compare with offline ones, and the first mismatches."""
    console.print(
        f"{name}: {comparison.images} sent, {comparison.accuracy:.2%} right over HTTP,"
        f" {comparison.offline_accuracy:.2%} offline; largest difference of a probability"
        f" {comparison.largest_difference:.1e} ({comparison.tolerance:g} allowed);"
        f" other classes: {comparison.other_classes}; mismatches: {len(comparison.mismatches)}",
        soft_wrap=True,
    )
    for mismatch in comparison.mismatches[:MAX_MISMATCHES]:
        image = examples[mismatch.index].name or f"image {mismatch.index}"
        console.print(f"  {image}: {mismatch.problem}", markup=False, soft_wrap=True)
    if len(comparison.mismatches) > MAX_MISMATCHES:
        console.print(f"  and {len(comparison.mismatches) - MAX_MISMATCHES} more")


def print_next_step(version: Path) -> None:
    """Print the command that has a version's model served or, if it is configured already, the one that tries it.

    Args:
        version: The folder of the version, below the folder of its model, beside which `models.config` is.
    """
    folder, config = version.parent, version.parents[1] / CONFIG_NAME
    if folder.name in _configured_models(config):
        (image, *_) = [*sorted((version / GOLDEN_FOLDER).glob("[0-9]*")), Path("photo.jpg")]
        route = f"{DEFAULT_URL}/api/v1/models/{quote(folder.name, safe='')}/predict"
        step = f"Try it while make run serves it: curl -F image=@{shlex.quote(str(image))} {route}"
    else:
        option = "" if config == DEFAULT_CONFIG else f" --config {shlex.quote(str(config))}"
        step = f"Have it served: python -m tools.models add {shlex.quote(str(folder))}{option}"
    console.print(step, markup=False, highlight=False, soft_wrap=True)


def _configured_models(config: Path) -> frozenset[str]:
    """Return the names in a `models.config` file; none if it cannot be read, which the model server reports."""
    message = model_server_config_pb2.ModelServerConfig()
    try:
        text_format.Parse(config.read_text(encoding="utf-8"), message)
    except (OSError, UnicodeDecodeError, text_format.ParseError):
        return frozenset()
    return frozenset(entry.name for entry in message.model_config_list.config)
