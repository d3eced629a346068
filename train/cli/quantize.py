"""`python -m train quantize`: compares size, accuracy and cost of a version in several forms, or writes one of them."""

# Modules that import TensorFlow are imported by the command, since TensorFlow would delay --help by seconds.
# ruff: noqa: PLC0415

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from train.cli.console import console, counting_progress, download_progress
from train.cli.options import MaxLossOption
from train.config.training_config import TrainingConfig, load_model_config
from train.data.examples import TEST, Example, to_inputs
from train.data.load import load_splits
from train.errors import TrainError
from train.evaluation.assessment import Assessment, card_calibration
from train.evaluation.evaluate import Evaluation, card_thresholds
from train.export.golden import read_golden
from train.export.precision import (
    FULL_PRECISION,
    MAX_LOSS,
    Compute,
    ExportPrecision,
    TfliteMode,
    TfliteOptions,
    TfliteWeights,
    Weights,
)
from train.verification.measure import BATCH, Measurement, measure
from vision.card import Card

if TYPE_CHECKING:
    from train.export.forms import Forms, Samples
    from train.export.savedmodel import Version

SINGLE_IMAGES = 200
"""Number of images that are sent one by one."""

FORM_MEMBERS = ("weights", "compute", "tflite")
"""Members of a card's provenance that say how the network is stored."""

app = typer.Typer()


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to store and to compute a network.

    Attributes:
        precision: Precision of the SavedModel.
        tflite: Type of the weights if TensorFlow Lite is served instead.
    """

    precision: ExportPrecision = FULL_PRECISION
    tflite: TfliteWeights | None = None

    @property
    def names(self) -> tuple[str, str, str]:
        """The form that is served, the type of its weights and that of its arithmetic."""
        if self.tflite:
            return "TFLite", self.tflite, self.tflite
        return "SavedModel", self.precision.weights, self.precision.compute


VARIANTS = (
    Variant(),
    Variant(ExportPrecision("float16")),
    Variant(ExportPrecision("int8")),
    Variant(ExportPrecision("bfloat16", "bfloat16")),
    Variant(ExportPrecision("int8", "bfloat16")),
    Variant(tflite="float32"),
    Variant(tflite="int8"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """Measurements of a version in one variant.

    Attributes:
        variant: The variant.
        size: Size of what is served, in bytes.
        measured: Probabilities and times of a model server.
        evaluation: The server's predictions, and the classes of the images.
    """

    variant: Variant
    size: int
    measured: Measurement
    evaluation: Evaluation


@dataclass(frozen=True, slots=True)
class Images:
    """The images with which variants are made and measured.

    Attributes:
        calibration: Images that int8 is calibrated on.
        tests: Test sets by name.
        config: Configuration of the data set; None for golden images, which are both.
    """

    calibration: "Samples"
    tests: dict[str, "Samples"]
    config: TrainingConfig | None = None


@app.command()
def quantize(  # noqa: PLR0913  # each is an option of the command line
    version: Annotated[
        Path, typer.Argument(metavar="VERSION", help="Exported version, such as serving_models/cifar10/3.")
    ],
    *,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data set; by default the golden images are used.")
    ] = None,
    config_path: Annotated[
        Path | None,
        typer.Option("--config", help="Configuration of the data set.", show_default="train/configs/MODEL.yaml"),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Largest number of images of a test set.")] = 1000,
    store: Annotated[
        Weights | None, typer.Option("--store", help="Export the version with weights stored in this number type.")
    ] = None,
    compute: Annotated[Compute, typer.Option(help="Number type in which its convolutions compute.")] = "float32",
    tflite: Annotated[
        TfliteMode | None, typer.Option("--tflite", help="Export the version with this TensorFlow Lite form.")
    ] = None,
    max_loss: MaxLossOption = MAX_LOSS,
) -> None:
    """Compare the forms in which a version can be stored and computed, each in its own model server.

    Prints size, accuracy, the largest change of any probability, and the server's CPU time per image. With --store or
    --tflite, no server is started: the version is written in that form as the next one beside VERSION.
    """
    from train.export.savedmodel import load_version

    loaded = load_version(version)
    if loaded.card.provenance.get("compute", "float32") != "float32":
        raise TrainError(f"{version} computes in bfloat16; expected a version that computes in float32")
    images = _load_images(loaded, data, config_path, limit)
    if store is None and tflite is None:
        _compare_variants(loaded, images)
    else:
        _write_version(
            loaded, images, ExportPrecision(store or "float32", compute), TfliteOptions(tflite or "none", max_loss)
        )


def _load_images(version: "Version", data: Path | None, config_path: Path | None, limit: int) -> Images:
    from train.export.forms import Samples

    card = version.card

    def to_samples(examples: Sequence[Example], *, are_labelled: bool = True) -> Samples:
        return Samples(to_inputs(examples, card.input, len(card.labels)), card_thresholds(card), are_labelled)

    if data is None:
        goldens = to_samples([golden.example for golden in read_golden(version.path)], are_labelled=False)
        return Images(goldens, {TEST: goldens})
    config = load_model_config(card.name, config_path)
    with download_progress() as on_progress:
        splits = load_splits(config, on_progress, data)
    tests = {name: to_samples(examples[:limit]) for name, examples in splits.tests.items()}
    return Images(to_samples(splits.validation), tests, config)


def _compare_variants(version: "Version", images: Images) -> None:
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="quantize-") as folder,
        counting_progress("variants", len(VARIANTS)) as on_done,
    ):
        for number, variant in enumerate(VARIANTS):
            rows.append(_measure_variant(version, variant, images, Path(folder) / str(number) / version.card.name))
            on_done()
    print_rows(rows, images.tests[TEST])


def _measure_variant(version: "Version", variant: Variant, images: Images, base: Path) -> Row:
    from train.export.forms import Forms, calibration_images
    from train.export.frozen_network import freeze_function
    from train.export.tflite_conversion import convert_float32, convert_int8
    from train.export.tflite_model import MODEL_FILE

    spec, test = version.card.input, images.tests[TEST]
    network = freeze_function(version.network, spec, variant.precision)
    tflite = None
    if variant.tflite == "int8":
        tflite = convert_int8(network, spec, calibration_images(images.calibration)).model
    elif variant.tflite == "float32":
        tflite = convert_float32(network, spec)
    path = _export(version, Forms(network, tflite), base, {})
    files = [path / MODEL_FILE] if tflite else [file for file in path.rglob("*") if file.is_file()]
    measured = measure(base, test.inputs.images, SINGLE_IMAGES, prefer_tflite=tflite is not None)
    targets = test.inputs.targets.astype(bool)
    evaluation = Evaluation(measured.probabilities, targets, card_thresholds(version.card))
    return Row(variant, sum(file.stat().st_size for file in files), measured, evaluation)


def _write_version(version: "Version", images: Images, precision: ExportPrecision, options: TfliteOptions) -> None:
    from train.evaluation.cards import make_metrics, round_metrics
    from train.export.confidence import measure_answered
    from train.export.forms import choose_forms, measure_forms
    from train.export.frozen_network import CONFIDENCE, freeze_function

    network = freeze_function(version.network, version.card.input, precision)
    forms = choose_forms(network, version.card.input, images.calibration, options)
    measurement = measure_forms(forms, images.tests)
    if images.config:
        calibration = card_calibration(version.card)
        metrics = make_metrics(Assessment(images.config, calibration, measurement.evaluations), measurement.metrics)
        if CONFIDENCE in network.answers:
            test = images.tests[TEST].inputs.images
            correct = measurement.evaluations[TEST].correct
            metrics["answered"] = measure_answered(forms.predict_confidence, test, correct)
    else:
        metrics = {**_temperature(version.card), **measurement.metrics}
    path = _export(version, forms, version.path.parent, round_metrics(metrics))
    console.print(f"{path} written\n{forms.decision}", soft_wrap=True)
    if not images.config:
        console.print("Its card states no accuracy, which takes labelled images: --data measures it.", soft_wrap=True)


def _temperature(card: Card) -> dict[str, Any]:
    """Return the one metric that stays true in every form, because it is part of the weights."""
    return {key: value for key, value in card.metrics.items() if key == "temperature"}


def _export(version: "Version", forms: "Forms", base: Path, metrics: dict[str, Any]) -> Path:
    from train.export.export import export_network

    goldens = [golden.example for golden in read_golden(version.path)]
    provenance = {key: value for key, value in version.card.provenance.items() if key not in FORM_MEMBERS}
    card = dataclasses.replace(version.card, metrics=metrics, provenance=provenance)
    return export_network(forms.network, card, goldens, base, version.predict, forms.tflite).path


def print_rows(rows: Sequence[Row], samples: "Samples") -> None:
    """Print a table of the variants: their accuracy or, without labels, their agreement with the first one."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    judgement = "right" if samples.are_labelled else "same class"
    for name in ("served", "weights", "compute", "MB", judgement, "change", "ms, one", "ms, batch"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        change = float(np.abs(row.measured.probabilities - rows[0].measured.probabilities).max())
        times = (row.measured.single_ms, row.measured.batched_ms)
        form, weights, compute = row.variant.names
        table.add_row(
            form,
            weights,
            compute,
            f"{row.size / 1e6:.1f}",
            f"{row.evaluation.accuracy if samples.are_labelled else _agreement(rows[0], row):.2%}",
            f"{change:.1e}",
            *("-" if time is None else f"{time:.2f}" for time in times),
        )
    console.print(table)
    if not samples.are_labelled:
        console.print("same class: as the first row; accuracy takes labelled images, --data", soft_wrap=True)
    console.print(
        f"{len(samples.inputs.images)} images; change: the largest change of a probability; ms: CPU time per image in"
        f" requests of one image or of {BATCH}, - if the images are too few to measure it",
        soft_wrap=True,
    )


def _agreement(reference: Row, other: Row) -> float:
    return float((reference.evaluation.decisions == other.evaluation.decisions).all(axis=1).mean())
