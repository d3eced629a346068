"""What the commands show: progress bars and tables."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
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

from train.download import OnProgress
from train.evaluate import Evaluation, figures
from train.golden import TOLERANCE
from train.verify import Comparison

if TYPE_CHECKING:  # it brings in TensorFlow, which `python -m train --help` need not wait for
    from train.loop import OnStep, Step

SHOWN_MISMATCHES = 20

console = Console()


@contextmanager
def download_progress() -> Iterator[OnProgress]:
    """Show a bar for each file that is downloaded."""
    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def on_progress(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name)
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


@contextmanager
def counting_progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show a bar that each call moves on by one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


def print_figures(evaluation: Evaluation, labels: Sequence[str]) -> None:
    """Print accuracy, and precision, recall and F1 of each class."""
    measured = figures(evaluation, labels)
    table = Table("class", "images", "precision", "recall", "F1")
    for label, values in measured["per_class"].items():
        ratios = (values["precision"], values["recall"], values["f1"])
        table.add_row(label, str(values["images"]), *("-" if ratio is None else f"{ratio:.4f}" for ratio in ratios))
    console.print(table)
    console.print(f"{measured['accuracy']:.2%} of {measured['images']} images right")


def print_comparison(name: str, comparison: Comparison) -> None:
    """Print how answers over HTTP compare with offline ones, and the first mismatches."""
    console.print(
        f"{name}: {comparison.images} sent, {comparison.accuracy:.2%} right over HTTP,"
        f" {comparison.offline_accuracy:.2%} offline; largest difference of a probability"
        f" {comparison.largest_difference:.1e} ({TOLERANCE:.0e} allowed); mismatches: {len(comparison.mismatches)}",
        soft_wrap=True,
    )
    for mismatch in comparison.mismatches[:SHOWN_MISMATCHES]:
        console.print(f"  image {mismatch.index}: {mismatch.problem}", markup=False, soft_wrap=True)
    if len(comparison.mismatches) > SHOWN_MISMATCHES:
        console.print(f"  and {len(comparison.mismatches) - SHOWN_MISMATCHES} more")
