"""Commands that check labels, and suggest which images to label next."""

# Modules that import TensorFlow or scikit-learn are imported by the commands, since they would delay --help by seconds.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from train.cli.console import console, download_progress
from train.cli.options import DataFolder, RunFolder
from train.data.examples import to_inputs
from train.data.load import load_splits
from train.data.unlabelled import load_unlabelled

ERRORS_FOLDER = "label_errors"
SUGGESTIONS_FOLDER = "suggestions"
MAX_PRINTED = 10

app = typer.Typer()


@app.command("check-labels")
def check_labels(run: RunFolder, data: DataFolder = None) -> None:
    """List images whose label is likely to be wrong, as a page with pictures and as a CSV in RUN/label_errors.

    A linear classifier on the features of the run's network is trained with some of the images and asked about the
    others, in turns. An image that it firmly takes for another class is listed.
    """
    from train.curation.features import compute_features
    from train.curation.label_errors import find_label_errors, number_groups
    from train.report.label_pages import PAGE, write_label_errors
    from train.training.run import load_run

    config, model = load_run(run)
    with download_progress() as on_progress:
        splits = load_splits(config, on_progress, data)
    parts = (splits.train, splits.validation, splits.test)
    examples = [example for part in parts for example in part]
    inputs = [to_inputs(part, config.input, len(config.labels)) for part in parts]

    import numpy as np

    errors = find_label_errors(
        np.concatenate([compute_features(model, part.images).values for part in inputs]),
        np.concatenate([part.targets for part in inputs]),
        number_groups(examples, splits.near_duplicates),
        multilabel=config.task == "multilabel",
        seed=config.seed,
    )
    write_label_errors(run / ERRORS_FOLDER, config, examples, errors)
    for error in errors[:MAX_PRINTED]:
        given, suggested = (
            ", ".join(config.labels[number] for number in classes) or "no class"
            for classes in (examples[error.index].classes, error.suggested)
        )
        line = f"{examples[error.index].name}: {given}; looks like {suggested}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"{len(errors)} of {len(examples)} labels are likely to be wrong; see {run / ERRORS_FOLDER / PAGE}",
        markup=False,
        soft_wrap=True,
    )


@app.command("suggest-labels")
def suggest_labels(
    run: RunFolder,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of unlabelled images, at any depth.")],
    count: Annotated[int, typer.Option(min=1, help="Number of images to suggest.")] = 40,
) -> None:
    """List the unlabelled images whose labels would teach the network most, in RUN/suggestions.

    They are images that the network is unsure about, and that differ from each other. Images that the run was trained
    or evaluated with are left out.
    """
    from train.curation.features import compute_features
    from train.curation.suggestions import choose_to_label, measure_uncertainty
    from train.report.label_pages import PAGE, write_suggestions
    from train.training.data_record import recognise_images
    from train.training.run import load_run

    config, model = load_run(run)
    target = run / SUGGESTIONS_FOLDER
    with download_progress() as on_progress:
        examples, skipped, labelled = load_unlabelled(
            folder, config.input, target / "cache", on_progress, recognise_images(run)
        )
    for name, reason in skipped:
        console.print(f"{name} {reason}", markup=False, soft_wrap=True)
    if labelled:
        console.print(f"left out: {labelled} images with which the run was trained or evaluated", soft_wrap=True)
    features = compute_features(model, examples.images)
    uncertainty = measure_uncertainty(features.probabilities, multilabel=config.task == "multilabel")
    chosen = choose_to_label(features.values, uncertainty, count, config.seed)
    write_suggestions(target, config, examples, features, chosen)
    console.print(
        f"{len(chosen)} of {len(examples)} images are suggested; see {target / PAGE}", markup=False, soft_wrap=True
    )
