"""`python -m train quantize`: what the forms of a version weigh, say and cost; one of them becomes a version."""

# What brings in TensorFlow is imported when the command runs, for --help need not wait seconds for it.
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
from train.evaluation.evaluate import Evaluation, thresholds_of
from train.export.golden import read_golden
from train.export.precision import FULL_PRECISION, Compute, ExportPrecision, Weights
from train.verification.measure import Measured, measure

if TYPE_CHECKING:
    from train.export.savedmodel import Version

FORMS = (
    FULL_PRECISION,
    ExportPrecision("float16"),
    ExportPrecision("int8"),
    ExportPrecision("bfloat16", "bfloat16"),
    ExportPrecision("int8", "bfloat16"),
)
SINGLES = 200
"""So many images are sent one by one."""

app = typer.Typer()


@dataclass(frozen=True, slots=True)
class Row:
    """One form of a version.

    Attributes:
        precision: Which.
        size: Of its directory, in bytes.
        measured: What a model server made of the images.
        accuracy: Fraction of images whose answer is right.
    """

    precision: ExportPrecision
    size: int
    measured: Measured
    accuracy: float


@app.command()
def quantize(  # noqa: PLR0913  # each is an option of the command line
    version: Annotated[Path, typer.Argument(metavar="VERSION", help="Such as serving_models/cifar10/1.")],
    *,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data set; by default the golden images are sent.")
    ] = None,
    config_path: Annotated[
        Path | None,
        typer.Option("--config", help="The data set's configuration.", show_default="train/configs/MODEL.yaml"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many test images are sent at most.")] = 1000,
    keep: Annotated[
        Weights | None, typer.Option("--store", help="Write the version with weights stored like this.")
    ] = None,
    compute: Annotated[Compute, typer.Option(help="What its convolutions are done in.")] = "float32",
) -> None:
    """Measure the forms in which a version can be stored and computed, each in a model server of its own.

    Printed are size, accuracy, the largest change of any probability, and the server's CPU time for an image. With
    --store only the form asked for is measured, and becomes the next version beside VERSION.
    """
    from train.export.savedmodel import load_version

    loaded = load_version(version)
    if loaded.card.provenance.get("compute", "float32") != "float32":
        raise TrainError(f"{version} computes in bfloat16 already; expected a version that computes in float32")
    examples = _test_images(loaded, data, config_path)[:limit]
    forms = FORMS if keep is None else (FULL_PRECISION, ExportPrecision(keep, compute))
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="quantize-") as folder,
        counting_progress("forms", len(forms)) as on_done,
    ):
        for number, precision in enumerate(forms):
            rows.append(_measured(loaded, precision, examples, Path(folder) / str(number) / loaded.card.name))
            on_done()
    _print(rows, len(examples))
    if keep is not None:
        measured = {"accuracy": round(rows[-1].accuracy, 6), "images": len(examples)} if data else {}
        path = _write(loaded, rows[-1].precision, version.parent, measured)
        console.print(f"{path} written", soft_wrap=True)


def _test_images(version: "Version", data: Path | None, config_path: Path | None) -> Sequence[Example]:
    if data is None:
        return [golden.example for golden in read_golden(version.path)]
    config = load_config(config_path or Path(f"train/configs/{version.card.name}.yaml"))
    with download_progress() as on_progress:
        return load_splits(config, on_progress, data).test


def _measured(version: "Version", precision: ExportPrecision, examples: Sequence[Example], base: Path) -> Row:
    path = _write(version, precision, base, {})
    card = version.card
    inputs = to_inputs(examples, card.input, len(card.labels))
    measured = measure(base, inputs.images, SINGLES)
    answered = Evaluation(measured.probabilities, inputs.targets.astype(bool), thresholds_of(card))
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return Row(precision, size, measured, answered.accuracy)


def _write(version: "Version", precision: ExportPrecision, base: Path, metrics: dict[str, float]) -> Path:
    from train.export.export import export_network
    from train.export.frozen_network import freeze

    goldens = [golden.example for golden in read_golden(version.path)]
    card = dataclasses.replace(version.card, metrics=metrics)
    network = freeze(version.network, card.input, precision)
    return export_network(network, card, goldens, base, version.predict).path


def _print(rows: Sequence[Row], images: int) -> None:
    table = Table("weights", "computed in", "MB", "right", "largest change", "CPU ms, one", "CPU ms, batch")
    for row in rows:
        change = _largest(row.measured.probabilities, rows[0].measured.probabilities)
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
    console.print(f"{images} images; one: sent one by one, batch: 32 at a time")


def _largest(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> float:
    return float(np.abs(found - wanted).max())
