"""`python -m train quantize`: compares size, accuracy and cost of a version in several precisions."""

# Modules that import TensorFlow are imported by the command, since TensorFlow would delay --help by seconds.
# ruff: noqa: PLC0415

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.table import Table

from train.cli.console import console, counting_progress, download_progress
from train.config.training_config import load_config
from train.data.examples import Example, to_inputs
from train.data.load import load_splits
from train.errors import TrainError
from train.evaluation.evaluate import Evaluation, card_thresholds
from train.export.golden import read_golden
from train.export.precision import FULL_PRECISION, Compute, ExportPrecision, Weights
from train.verification.measure import Measurement, measure

if TYPE_CHECKING:
    from train.export.savedmodel import Version

PRECISIONS = (
    FULL_PRECISION,
    ExportPrecision("float16"),
    ExportPrecision("int8"),
    ExportPrecision("bfloat16", "bfloat16"),
    ExportPrecision("int8", "bfloat16"),
)
SINGLE_IMAGES = 200
"""Number of images that are sent one by one."""

app = typer.Typer()


@dataclass(frozen=True, slots=True)
class Row:
    """Measurements of a version in one precision.

    Attributes:
        precision: The precision.
        size: Size of the version's folder, in bytes.
        measured: Probabilities and times of a model server.
        accuracy: Fraction of correctly classified images.
    """

    precision: ExportPrecision
    size: int
    measured: Measurement
    accuracy: float


@app.command()
def quantize(  # noqa: PLR0913  # each is an option of the command line
    version: Annotated[
        Path, typer.Argument(metavar="VERSION", help="Exported version, such as serving_models/cifar10/1.")
    ],
    *,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data set; by default the golden images are used.")
    ] = None,
    config_path: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration of the data set.", show_default="train/configs/MODEL.yaml"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of test images.")] = 1000,
    store: Annotated[
        Weights | None, typer.Option("--store", help="Export the version with weights stored in this number type.")
    ] = None,
    compute: Annotated[Compute, typer.Option(help="Number type in which its convolutions compute.")] = "float32",
) -> None:
    """Compare the precisions in which a version can be stored and computed, each in its own model server.

    Prints size, accuracy, the largest change of any probability, and the server's CPU time per image. With --store,
    only that precision is measured, and it becomes the next version beside VERSION.
    """
    from train.export.savedmodel import load_version

    loaded = load_version(version)
    if loaded.card.provenance.get("compute", "float32") != "float32":
        raise TrainError(f"{version} computes in bfloat16; expected a version that computes in float32")
    examples = _load_test_images(loaded, data, config_path)[:limit]
    precisions = PRECISIONS if store is None else (FULL_PRECISION, ExportPrecision(store, compute))
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="quantize-") as folder,
        counting_progress("precisions", len(precisions)) as on_done,
    ):
        for number, precision in enumerate(precisions):
            rows.append(_measure_precision(loaded, precision, examples, Path(folder) / str(number) / loaded.card.name))
            on_done()
    _print_rows(rows, len(examples))
    if store is not None:
        metrics = {"accuracy": round(rows[-1].accuracy, 6), "images": len(examples)} if data else {}
        path = _export(loaded, rows[-1].precision, version.parent, metrics)
        console.print(f"{path} written", soft_wrap=True)


def _load_test_images(version: "Version", data: Path | None, config_path: Path | None) -> Sequence[Example]:
    if data is None:
        return [golden.example for golden in read_golden(version.path)]
    config = load_config(config_path or Path(f"train/configs/{version.card.name}.yaml"))
    with download_progress() as on_progress:
        return load_splits(config, on_progress, data).test


def _measure_precision(version: "Version", precision: ExportPrecision, examples: Sequence[Example], base: Path) -> Row:
    path = _export(version, precision, base, {})
    card = version.card
    inputs = to_inputs(examples, card.input, len(card.labels))
    measured = measure(base, inputs.images, SINGLE_IMAGES)
    evaluation = Evaluation(measured.probabilities, inputs.targets.astype(bool), card_thresholds(card))
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return Row(precision, size, measured, evaluation.accuracy)


def _export(version: "Version", precision: ExportPrecision, base: Path, metrics: dict[str, float]) -> Path:
    from train.export.export import export_network
    from train.export.frozen_network import freeze_function

    goldens = [golden.example for golden in read_golden(version.path)]
    card = dataclasses.replace(version.card, metrics=metrics)
    network = freeze_function(version.network, card.input, precision)
    return export_network(network, card, goldens, base, version.predict).path


def _print_rows(rows: Sequence[Row], images: int) -> None:
    table = Table("weights", "computed in", "MB", "right", "largest change", "CPU ms, one", "CPU ms, batch")
    for row in rows:
        change = _largest_difference(row.measured.probabilities, rows[0].measured.probabilities)
        times = (row.measured.single_ms, row.measured.batched_ms)
        table.add_row(
            row.precision.weights,
            row.precision.compute,
            f"{row.size / 1e6:.1f}",
            f"{row.accuracy:.2%}",
            f"{change:.1e}",
            *("-" if time is None else f"{time:.2f}" for time in times),
        )
    console.print(table)
    console.print(f"{images} images; one: one image per request, batch: 32 images per request")


def _largest_difference(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    return float(np.abs(first - second).max())
