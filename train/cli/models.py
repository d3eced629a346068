"""The command that makes the committed models that are not trained here."""

# Modules that import TensorFlow are imported by the command, since TensorFlow would delay --help by seconds.
# ruff: noqa: PLC0415

import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from train.cli.console import console
from train.cli.folders import check_folders
from train.cli.options import MODELS, ModelsFolder
from train.data.examples import to_inputs
from train.errors import TrainError
from train.evaluation.calibrate import fit_temperature
from train.evaluation.evaluate import evaluate
from train.export.precision import ExportPrecision, Form

app = typer.Typer()

VERSION = "1"


@app.command("models")
def make_models(
    *,
    pictures: Annotated[Path, typer.Option(help="Folder of the golden images.")] = Path("examples"),
    models: ModelsFolder = MODELS,
    samples: Annotated[
        Path | None,
        typer.Option(help="Folder of labelled photos, with labels.csv; fits the temperature and measures both forms."),
    ] = None,
) -> None:
    """Make the committed model `imagenet` again from the package with its weights.

    Without --samples the temperature and the metrics are those that were measured before. A version that is already
    there is replaced if the new one gives the same answers to its golden images.
    """
    images = check_folders(pictures, models)

    from train.export.export import export_network
    from train.importers import imagenet_model
    from train.importers.cards import served_card
    from train.importers.checks import check_scores, pseudo_label
    from train.importers.foreign import import_keras
    from train.importers.labelled import read_labelled
    from train.importers.published import build_efficientnet_lite
    from train.verification.assess import set_temperature

    recipe = imagenet_model.read_recipe()
    model, foreign_card = build_efficientnet_lite(recipe.network, recipe.side)
    card = served_card(foreign_card, {"parameters": model.count_params()})
    inputs = None
    if samples:
        labelled = read_labelled(samples / imagenet_model.LABELS, card)
        inputs = to_inputs(labelled, card.input, len(card.labels))
    if inputs:
        uncalibrated = evaluate(import_keras(model, foreign_card).original, inputs)
        fit = fit_temperature(uncalibrated.probabilities, uncalibrated.targets, card.task)
        recipe = dataclasses.replace(recipe, temperature=round(fit.temperature, 4))
    set_temperature(model, recipe.temperature)
    imported = import_keras(model, foreign_card, ExportPrecision("float16"))
    check_scores(imported.network, card)
    forms = imagenet_model.make_forms(imported.network, card.input)
    if inputs:
        recipe = dataclasses.replace(recipe, metrics=imagenet_model.measure(forms, inputs, recipe))
        recipe.write()
    examples = pseudo_label(images, card, imported.network)
    with tempfile.TemporaryDirectory(prefix=f".{card.name}-", dir=models) as folder:
        exported = export_network(
            imported.network, recipe.complete(card), examples, Path(folder), imported.original, forms.tflite
        )
        _replace_version(models / card.name / VERSION, exported.path)
    console.print_json(data=dict(recipe.metrics))


def _replace_version(version: Path, made: Path) -> None:
    """Move a version to its place; if there is one already, only if both give the same answers."""
    from train.export.golden import TFLITE_TOLERANCES, TOLERANCE, largest_difference

    tolerances: dict[Form, float] = {"saved_model": TOLERANCE, "tflite": TFLITE_TOLERANCES["int8"]}
    if version.exists():
        differences = {form: largest_difference(version, made, form) for form in tolerances}
        if any(differences[form] > tolerances[form] for form in tolerances):
            raise TrainError(
                f"{version} gives other answers to its golden images; largest differences of a probability: "
                f"{differences}. If that is intended, delete it and run this command again."
            )
        console.print(f"the golden answers are those of before; largest differences of a probability: {differences}")
        shutil.rmtree(version)
    version.parent.mkdir(exist_ok=True)
    made.rename(version)
    console.print(f"{version} written")
