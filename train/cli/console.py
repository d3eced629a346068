"""What the commands show: progress bars and tables."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

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

from train.data.download import OnProgress
from train.data.examples import Example, Splits
from train.export.golden import TOLERANCE
from train.verification.verify import Comparison

if TYPE_CHECKING:  # it brings in TensorFlow, which `python -m train --help` need not wait for
    from train.training.loop import OnStep, Step

SHOWN_MISMATCHES = 20
SHOWN_LEFT_OUT = 20

console = Console()


@contextmanager
def download_progress() -> Iterator[OnProgress]:
    """Show a bar for each file that is downloaded."""
    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def on_progress(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done, total=total)

        yield on_progress


@contextmanager
def training_progress() -> Iterator["OnStep"]:
    """Show a bar over all steps with the time left, and a line for each finished epoch."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("training", total=None)
        epoch = 0

        def on_step(step: "Step") -> None:
            nonlocal epoch
            progress.update(task, completed=step.done, total=step.total, description=f"epoch {step.epoch + 1}")
            if step.epoch > epoch:
                epoch = step.epoch
                values = "  ".join(f"{name} {value:.4f}" for name, value in step.figures.items())
                console.print(f"epoch {epoch}: {values}", soft_wrap=True)

        yield on_step


class OnDone(Protocol):
    """Moves a bar on."""

    def __call__(self, done: int = 1, /) -> None:
        """Move it on by so many."""


@contextmanager
def counting_progress(what: str, total: int) -> Iterator[OnDone]:
    """Show a bar that each call moves on, by one if it does not say how many."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done=1: progress.advance(task, done)


def print_splits(splits: Splits, labels: Sequence[str]) -> None:
    """Print how many images of each class are in each part, and what was left out."""
    parts = {"train": splits.train, "validation": splits.validation} | splits.tests
    table = Table("class", *parts)
    counts = [Counter(number for example in part for number in example.classes) for part in parts.values()]
    for number, label in enumerate(labels):
        table.add_row(escape(label), *(str(count[number]) for count in counts))
    table.add_section()
    table.add_row("images", *(str(len(part)) for part in parts.values()))
    console.print(table)
    if splits.left_out:
        console.print(f"left out: {len(splits.left_out)}")
    for name, reason in splits.left_out[:SHOWN_LEFT_OUT]:
        console.print(f"  {name} {reason}", markup=False, soft_wrap=True)
    if len(splits.left_out) > SHOWN_LEFT_OUT:
        console.print(f"  and {len(splits.left_out) - SHOWN_LEFT_OUT} more")


def print_summary(measured: Mapping[str, Any]) -> None:
    """Print what `train.evaluation.assessment.summary` returns, the figures of each class as a table."""
    ratios = {"precision": "precision", "recall": "recall", "f1": "F1", "average_precision": "avg. precision"}
    table = Table("class", "images", *ratios.values())
    for values in measured["per_class"]:
        table.add_row(escape(values["class"]), str(values["images"]), *(_ratio(values[name]) for name in ratios))
    console.print(table)
    for name, values in ({"test": measured} | measured.get("further_tests", {})).items():
        console.print(f"{name}: {_headline(values)}", soft_wrap=True)
    if "answered" in measured:
        share, right = measured["answered"]["share"], measured["answered"]["accuracy"]
        console.print(
            f"abstaining below {measured['abstain_below']:.4f} answers {share:.2%} of the test images;"
            f" of the answers {_ratio(right)} are right",
            soft_wrap=True,
        )


def _headline(values: Mapping[str, Any]) -> str:
    told = f"{values['accuracy']:.2%} of {values['images']} images right"
    if "binary_accuracy" in values:
        told += f", {values['binary_accuracy']:.2%} of all decisions; micro F1 {_ratio(values['micro_f1'])}"
        told += f", macro F1 {_ratio(values['macro_f1'])}"
    return f"{told}; calibration error {values['calibration_error']:.4f}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def print_comparison(name: str, comparison: Comparison, examples: Sequence[Example]) -> None:
    """Print how answers over HTTP compare with offline ones, and the first mismatches."""
    console.print(
        f"{name}: {comparison.images} sent, {comparison.accuracy:.2%} right over HTTP,"
        f" {comparison.offline_accuracy:.2%} offline; largest difference of a probability"
        f" {comparison.largest_difference:.1e} ({TOLERANCE:.0e} allowed); mismatches: {len(comparison.mismatches)}",
        soft_wrap=True,
    )
    for mismatch in comparison.mismatches[:SHOWN_MISMATCHES]:
        where = examples[mismatch.index].name or f"image {mismatch.index}"
        console.print(f"  {where}: {mismatch.problem}", markup=False, soft_wrap=True)
    if len(comparison.mismatches) > SHOWN_MISMATCHES:
        console.print(f"  and {len(comparison.mismatches) - SHOWN_MISMATCHES} more")
