"""Commands that import models from elsewhere as versions of served models, without training."""

# Modules that import TensorFlow are imported by the commands, since TensorFlow would delay --help by seconds.
# ruff: noqa: PLC0415

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from train.cli.console import console, print_next_step
from train.errors import TrainError
from train.export.golden import MAX_IMAGES
from train.export.precision import MAX_LOSS, Compute, ExportPrecision, TfliteMode, TfliteOptions, Weights
from vision.card import Card

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from train.data.examples import Example
    from train.importers.comparison import Comparison
    from train.importers.foreign import ForeignClassifier, ForeignModel, ImportedModel
    from train.importers.labelled import LabelledCalibration

MODELS = Path("serving_models")
ONNX_HINT = "install onnxruntime, or record what it returns, and name the file by --recorded"
TORCH_HINT = "record what PyTorch returns with python -m train record-torch, and name the file by --recorded"
SUFFIXES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp")

app = typer.Typer()


def find_images(folder: Path) -> list[Path]:
    """Return the image files of a folder and its subfolders in the order of their names.

    Raises:
        TrainError: There is none.
    """
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not images:
        state = "contains no images" if folder.is_dir() else "is not a folder"
        raise TrainError(f"--pictures {folder} {state}; expected a folder with files that end in {', '.join(SUFFIXES)}")
    return images


def check_folders(pictures: Path, models: Path) -> list[Path]:
    """Check the folders of the options before the work begins, and return the images in `pictures`.

    Raises:
        TrainError: There is no image, or `models` cannot be written.
    """
    images = find_images(pictures)
    check_models(models)
    return images


def check_models(folder: Path) -> None:
    """Create the folder of the served models if it is missing.

    Raises:
        TrainError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".", dir=folder):
            pass
    except OSError as error:
        raise TrainError(
            f"--models {folder} cannot be written ({error.strerror}); give a folder in which you may create files"
        ) from error


CardFile = Annotated[Path, typer.Option("--card", help="Model card, JSON: inputs and outputs of the model.")]
ImagesFolder = Annotated[
    Path,
    typer.Option(
        "--pictures", help=f"Folder of images that calibrate int8; the first {MAX_IMAGES} become the golden images."
    ),
]
ModelsFolder = Annotated[Path, typer.Option("--models", help="Folder of the served models.")]
StoreOption = Annotated[Weights, typer.Option("--store", help="Number type in which weights are stored.")]
ComputeOption = Annotated[Compute, typer.Option("--compute", help="Number type in which convolutions compute.")]
TfliteOption = Annotated[
    TfliteMode, typer.Option("--tflite", help="Type of the TensorFlow Lite form; auto takes int8 if that pays.")
]
MaxLossOption = Annotated[
    float, typer.Option("--max-loss", min=0, help="Points of accuracy that int8 may cost in the TensorFlow Lite form.")
]
VariantOption = Annotated[
    Literal["plain", "tf"] | None,
    typer.Option(
        help="Which network of timm, where `efficientnet_b0` and `tf_efficientnet_b0` have the same tensors.",
        show_default="what the checkpoint or its file name says, else plain",
    ),
]
LabelledOption = Annotated[
    Path | None,
    typer.Option(
        "--labelled", help="Labelled images, as a folder for each class or a CSV file: calibrates and measures."
    ),
]
RecordedOption = Annotated[
    Path | None,
    typer.Option("--recorded", help="File with what the model's own framework returned (.npz); compared."),
]
SignatureOption = Annotated[
    str | None,
    typer.Option("--signature", help="Signature of the SavedModel.", show_default="serving_default or the only one"),
]


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the options of every import say.

    Attributes:
        images: Images that calibrate int8, the first of which become the golden images.
        models: Folder of the served models.
        precision: Precision of the imported network.
        tflite: The TensorFlow Lite form.
        labelled: Labelled images, or None.
        recorded: File with what the model's framework returned, or None.
        hint: How to have the model compared, if its framework is not installed here.
    """

    images: list[Path]
    models: Path
    precision: ExportPrecision
    tflite: TfliteOptions
    labelled: Path | None = None
    recorded: Path | None = None
    hint: str = "record what the model's own framework returns, and name the file by --recorded"


@app.command("import-keras")
def import_keras_model(  # noqa: PLR0913  # each is an option of the command line
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .keras or .h5 file, or the folder of a SavedModel.")],
    *,
    card: CardFile,
    pictures: ImagesFolder,
    models: ModelsFolder = MODELS,
    store: StoreOption = "float32",
    compute: ComputeOption = "float32",
    tflite: TfliteOption = "auto",
    signature: SignatureOption = None,
    max_loss: MaxLossOption = MAX_LOSS,
    labelled: LabelledOption = None,
    recorded: RecordedOption = None,
) -> None:
    """Import a Keras model as the next version of a served model.

    The card states name, labels and input size. Its input.mean, input.std and output.activation state what the
    network itself does not apply; docs/bring_your_own_model.md has examples. Heat maps are available if the network
    ends in an average and at most one dense layer.
    """
    images = check_folders(pictures, models)
    options = ImportOptions(
        images, models, ExportPrecision(store, compute), TfliteOptions(tflite, max_loss), labelled, recorded
    )

    from train.importers.cards import read_card
    from train.importers.foreign import from_keras, from_saved_model
    from train.importers.keras_file import load_keras

    model_card = read_card(card)
    if file.is_dir():
        model = from_saved_model(file, model_card, signature)
    else:
        if signature:
            raise TrainError(f"--signature {signature}: only a SavedModel has signatures, and {file} is none")
        loaded = load_keras(file, model_card.input)
        model = from_keras(loaded.network, model_card, loaded.framework, loaded.original)
    _import(model, model_card, options)


@app.command("describe")
def describe_saved_model(  # noqa: PLR0913  # each is an option of the command line
    folder: Annotated[Path, typer.Argument(metavar="SAVEDMODEL", help="Folder with saved_model.pb.")],
    *,
    card: CardFile,
    pictures: ImagesFolder,
    models: ModelsFolder = MODELS,
    store: StoreOption = "float32",
    compute: ComputeOption = "float32",
    tflite: TfliteOption = "auto",
    signature: SignatureOption = None,
    max_loss: MaxLossOption = MAX_LOSS,
    labelled: LabelledOption = None,
    recorded: RecordedOption = None,
) -> None:
    """Import a SavedModel as the next version of a served model, which describes itself.

    Normalisation, layout and activation from the card become part of the version, and it also accepts encoded images.
    The original model is not changed.
    """
    images = check_folders(pictures, models)
    options = ImportOptions(
        images, models, ExportPrecision(store, compute), TfliteOptions(tflite, max_loss), labelled, recorded
    )

    from train.importers.cards import read_card
    from train.importers.foreign import from_saved_model

    model_card = read_card(card)
    _import(from_saved_model(folder, model_card, signature), model_card, options)


@app.command("import-torch")
def import_torch(  # noqa: PLR0913  # each is an option of the command line
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint: .pth, .pt, .ckpt or .safetensors.")],
    *,
    card: CardFile,
    pictures: ImagesFolder,
    models: ModelsFolder = MODELS,
    variant: VariantOption = None,
    store: StoreOption = "float32",
    compute: ComputeOption = "float32",
    tflite: TfliteOption = "auto",
    max_loss: MaxLossOption = MAX_LOSS,
    labelled: LabelledOption = None,
    recorded: RecordedOption = None,
) -> None:
    """Import a PyTorch network as the next version of a served model; PyTorch is not required.

    Supported are ResNet, ResNeXt, MobileNetV2 and V3, EfficientNet, EfficientNet-Lite and ConvNeXt, as torchvision
    and timm name their weights; docs/bring_your_own_model.md lists them. Reading a checkpoint executes no code from
    it. The card's input.mean and input.std are those of the training, for pixels of 0 to 255.
    """
    images = check_folders(pictures, models)
    options = ImportOptions(
        images, models, ExportPrecision(store, compute), TfliteOptions(tflite, max_loss), labelled, recorded, TORCH_HINT
    )

    from train.importers.cards import read_card
    from train.importers.foreign import from_keras
    from train.importers.torch_networks import network_from_torch
    from train.weights.checkpoints import read_checkpoint

    model_card = read_card(card)
    checkpoint = read_checkpoint(file)
    if note := str(checkpoint.source):
        console.print(f"{file.name}: {note}.", markup=False, soft_wrap=True)
    _import(from_keras(network_from_torch(checkpoint, variant), model_card), model_card, options)


@app.command("import-onnx")
def import_onnx(  # noqa: PLR0913  # each is an option of the command line
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An .onnx file.")],
    *,
    card: CardFile,
    pictures: ImagesFolder,
    models: ModelsFolder = MODELS,
    store: StoreOption = "float32",
    compute: ComputeOption = "float32",
    tflite: TfliteOption = "auto",
    max_loss: MaxLossOption = MAX_LOSS,
    labelled: LabelledOption = None,
    recorded: RecordedOption = None,
) -> None:
    """Import an ONNX classifier as the next version of a served model.

    Operators that image classifiers consist of are supported, of versions 7 to 21; others are named. The result is
    compared with ONNX Runtime if that is installed. Heat maps are available if the network ends in an average and at
    most one dense layer.
    """
    images = check_folders(pictures, models)
    options = ImportOptions(
        images, models, ExportPrecision(store, compute), TfliteOptions(tflite, max_loss), labelled, recorded, ONNX_HINT
    )

    from train.importers.cards import read_card
    from train.importers.onnx_model import from_onnx

    model_card = read_card(card)
    _import(from_onnx(file, model_card), model_card, options)


@app.command()
def imagenet(  # noqa: PLR0913  # each is an option of the command line
    *,
    pictures: ImagesFolder,
    network: Annotated[
        Literal["MobileNetV2", "ResNet50", "InceptionV3", "DenseNet121"], typer.Option(help="Name of the network.")
    ] = "MobileNetV2",
    weights: Annotated[
        Path | None, typer.Option(help="File of its weights, as published by Keras.", show_default="downloaded")
    ] = None,
    models: ModelsFolder = MODELS,
    store: StoreOption = "float32",
    compute: ComputeOption = "float32",
    tflite: TfliteOption = "auto",
    max_loss: MaxLossOption = MAX_LOSS,
    labelled: LabelledOption = None,
    recorded: RecordedOption = None,
) -> None:
    """Import a network of keras.applications for ImageNet's 1000 classes as the next version of `imagenet`."""
    images = check_folders(pictures, models)
    options = ImportOptions(
        images, models, ExportPrecision(store, compute), TfliteOptions(tflite, max_loss), labelled, recorded
    )

    import keras

    from train.importers.foreign import from_keras
    from train.importers.published import build_application

    model, card = build_application(network, weights)
    _import(from_keras(model, card, f"Keras {keras.__version__}"), card, options)


@app.command()
def squeezenet(  # noqa: PLR0913, PLR0917  # each is an option of the command line
    weights: Annotated[Path, typer.Argument(metavar="FILE", help="Published .onnx or .caffemodel file.")],
    pictures: ImagesFolder,
    models: ModelsFolder = MODELS,
    store: StoreOption = "float32",
    compute: ComputeOption = "float32",
    tflite: TfliteOption = "auto",
    max_loss: MaxLossOption = MAX_LOSS,
    labelled: LabelledOption = None,
    recorded: RecordedOption = None,
) -> None:
    """Import SqueezeNet 1.1 with its published weights as the next version of `squeezenet`."""
    images = check_folders(pictures, models)
    options = ImportOptions(
        images, models, ExportPrecision(store, compute), TfliteOptions(tflite, max_loss), labelled, recorded
    )

    from train.importers.foreign import from_keras
    from train.importers.published import build_squeezenet

    model, card = build_squeezenet(weights)
    _import(from_keras(model, card), card, options)


def _import(model: "ForeignModel", card: Card, options: ImportOptions) -> None:
    """Turn a foreign model into the next version of a served model, and print what was found, added and compared."""
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
    comparison = _compare(classifier, inputs.images[:MAX_IMAGES], options)
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
    classifier: "ForeignClassifier", images: "npt.NDArray[np.uint8]", options: ImportOptions
) -> "Comparison | None":
    """Compare a model with its framework by a record or in this process, and print the result."""
    from train.importers.comparison import compare_framework, compare_record

    comparison = (
        compare_record(classifier, options.recorded) if options.recorded else compare_framework(classifier, images)
    )
    if comparison is None:
        console.print(f"Not compared with the model's own framework: {options.hint}.", markup=False, soft_wrap=True)
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
    reason = ", as no other one gains in cross-validation" if metrics["temperature"] == 1 else ""
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
