"""`python -m train compare`: compares two evaluated runs image by image."""

# Modules that import Keras are imported by the command, since it would delay --help by seconds.
# ruff: noqa: PLC0415

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from train.cli.console import console
from train.config.run_names import CONFIG_FILE
from train.config.training_config import load_config
from train.evaluation.assessment import EVALUATION_FILE
from train.evaluation.comparison import compare_results
from train.evaluation.predictions import read_results
from train.evaluation.run_files import unusable_file
from train.report.compare import EvaluatedRun, Row, configuration_rows, metric_rows, render_comparison
from train.report.learning_curves import read_log

app = typer.Typer()


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of an evaluated run.")],
    second: Annotated[Path, typer.Argument(metavar="OTHER", help="Folder of another evaluated run.")],
    out: Annotated[Path, typer.Option(help="HTML page to write.")] = Path("comparison.html"),
) -> None:
    """Compare two evaluated runs: configuration, metrics, and whether they differ by more than chance.

    Runs are compared on the test images that both were evaluated on. The page also has their learning curves.
    """
    are_named_alike = first.resolve().name == second.resolve().name
    name, other = map(str, (first, second)) if are_named_alike else (first.resolve().name, second.resolve().name)
    runs = _read_run(first, name), _read_run(second, other)
    comparison = compare_results(read_results(first), read_results(second))
    _print_rows("metric", metric_rows(*runs, comparison), runs)
    _print_rows("configuration", configuration_rows(*runs), runs)
    out.write_text(render_comparison(*runs, comparison), encoding="utf-8")
    console.print(f"See {out} for the learning curves", soft_wrap=True)


def _read_run(run: Path, name: str) -> EvaluatedRun:
    from train.training.log import LOG_FILE

    path = run / EVALUATION_FILE
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unusable_file(path, error) from error
    return EvaluatedRun(name, load_config(run / CONFIG_FILE), summary, read_log(run / LOG_FILE))


def _print_rows(name: str, rows: Sequence[Row], runs: Sequence[EvaluatedRun]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in (name, *(escape(run.name) for run in runs)):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(escape, (row.name, row.first, row.second)))
    console.print(table)
    for row in rows:
        if row.verdict:
            console.print(f"{row.name}: {row.verdict}", markup=False, soft_wrap=True)
