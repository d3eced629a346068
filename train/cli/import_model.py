"""What every import does once the model and its card are read."""

# Modules that import TensorFlow are imported by the functions, since TensorFlow would delay --help by seconds.
# ruff: noqa: PLC0415

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train.cli.console import console, print_next_step
from train.cli.import_options import ImportOptions
from train.export.golden import MAX_IMAGES
from vision.card import Card

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from train.data.examples import Example
    from train.importers.comparison import Comparison
    from train.importers.foreign import ForeignClassifier, ForeignModel, ImportedModel
    from train.importers.labelled import LabelledCalibration

RECORDING_HINT = "record what the model's own framework returns, and name the file by --recorded"


def import_model(
    model: "ForeignModel", card: Card, options: ImportOptions, recording_hint: str = RECORDING_HINT
) -> None:
    """Turn a foreign model into the next version of a served model, and print what was found, added and compared.

    Args:
        model: The model.
        card: Its card.
        options: What the options say.
        recording_hint: How to have the model compared, if its framework is not installed here.
    """
    from train.data.examples import to_inputs
    from train.evaluation.cards import round_metrics
    from train.evaluation.evaluate import card_thresholds
    from train.export.export import export_network
    from train.export.forms import CALIBRATION_IMAGES, Samples, choose_forms, measure_forms
    from train.importers.cards import served_card
    from train.importers.checks import check_scores, pseudo_label
    from train.importers.foreign import classify
    from train.importers.labelled import calibrate_on

    classifier = classify(model, card)
    console.print(classifier.choice.note, markup=False, soft_wrap=True)
    calibrated = calibrate_on(options.labelled, classifier) if options.labelled else None
    imported = classifier.complete(options.precision, calibrated.calibration.temperature if calibrated else 1.0)
    parameters = {} if model.parameters is None else {"parameters": model.parameters}
    card = served_card(card, parameters)
    if calibrated:
        card = calibrated.complete(card)
        _print_calibration(calibrated, card)
    check_scores(imported.network, card)
    examples = pseudo_label(options.images[:CALIBRATION_IMAGES], card, imported.network)
    inputs = to_inputs(examples, card.input, len(card.labels))
    comparison = _compare(classifier, inputs.images[:MAX_IMAGES], options.recorded, recording_hint)
    name, samples = (
        ("labelled", calibrated.samples)
        if calibrated
        else ("pictures", Samples(inputs, card_thresholds(card), are_labelled=False))
    )
    forms = choose_forms(imported.network, card.input, samples, options.tflite)
    measured = measure_forms(forms, {name: samples}).metrics | _compare_decoding(imported, card, examples, calibrated)
    metrics = round_metrics({**card.metrics, **measured})
    compared_with = comparison.provenance() if comparison else None
    card = dataclasses.replace(card, metrics=metrics, provenance={**card.provenance, "compared_with": compared_with})
    goldens = examples[:MAX_IMAGES]
    base = options.models / card.name
    exported = export_network(imported.network, card, goldens, base, imported.original, forms.tflite)
    console.print(
        f"{exported.path} written: {len(card.labels)} classes; largest difference of a probability from the original's,"
        f" over {len(goldens)} golden images: {exported.largest_difference:.1e};"
        f" heat maps: {'yes' if imported.network.explains else 'no'}; licence: {card.provenance['licence']}",
        markup=False,
        soft_wrap=True,
    )
    console.print(forms.decision, soft_wrap=True)
    print_next_step(exported.path)


def _compare(
    classifier: "ForeignClassifier", images: "npt.NDArray[np.uint8]", record: Path | None, recording_hint: str
) -> "Comparison | None":
    """Compare a model with its framework by a record or in this process, and print the result."""
    from train.importers.comparison import compare_framework, compare_record

    comparison = compare_record(classifier, record) if record else compare_framework(classifier, images)
    if comparison is None:
        console.print(f"Not compared with the model's own framework: {recording_hint}.", markup=False, soft_wrap=True)
    else:
        outputs = f", which returned {comparison.outputs}" if comparison.outputs else ""
        console.print(
            f"Compared with {comparison.framework}{outputs}: largest difference of a probability, over"
            f" {comparison.images} images: {comparison.largest_difference:.1e}",
            markup=False,
            soft_wrap=True,
        )
    return comparison


def _compare_decoding(
    imported: "ImportedModel", card: Card, pictures: "Sequence[Example]", calibrated: "LabelledCalibration | None"
) -> dict[str, Any]:
    """Measure what decoding large photos at reduced size changes, print it, and return the metrics of the card."""
    from train.importers.decoding import compare_decoding

    examples = calibrated.examples if calibrated else pictures
    paths = [example.source for example in examples if isinstance(example.source, Path)]
    targets = [example.classes[0] for example in examples] if calibrated and card.task == "multiclass" else None
    comparison = compare_decoding(paths, card.input, imported.network.predict, targets)
    if not comparison.photo_count:
        return {}
    console.print(str(comparison), markup=False, soft_wrap=True)
    return {"decoding": comparison.metrics}


def _print_calibration(calibrated: "LabelledCalibration", card: Card) -> None:
    from train.evaluation.cautions import few_images_warning

    metrics = calibrated.metrics
    abstaining = "" if card.abstain_below is None else f"; abstains below {card.abstain_below:.4f}"
    reason = ", because no other temperature improves cross-validation" if metrics["temperature"] == 1 else ""
    effects = ", ".join(
        f"{name.replace('_', ' ')} {metrics[name]:.4f} ({metrics[f'{name}_before']:.4f} before)"
        for name in ("calibration_error", "log_loss")
    )
    console.print(
        f"{metrics['accuracy']:.2%} of {metrics['images']} labelled images right; temperature"
        f" {metrics['temperature']:.4g}{reason}; cross-validated {effects}{abstaining}",
        soft_wrap=True,
    )
    warning = few_images_warning(metrics["images"], "labelled", "--labelled")
    if warning:
        console.print(f"[yellow]warning:[/yellow] {warning}", soft_wrap=True)
