"""Commands that import models from elsewhere as versions of served models, without training."""

# Modules that import TensorFlow are imported by the commands, since TensorFlow would delay --help by seconds.
# ruff: noqa: PLC0415

import dataclasses
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from train.cli.console import console, print_next_step
from train.errors import TrainError
from train.export.golden import MAX_IMAGES
from train.export.precision import MAX_LOSS, Compute, ExportPrecision, TfliteMode, TfliteOptions, Weights
from vision.card import Card

if TYPE_CHECKING:
    import keras

    from train.importers.foreign import ImportedModel

MODELS = Path("serving_models")
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
    max_loss: MaxLossOption = MAX_LOSS,
) -> None:
    """Import a Keras model as the next version of a served model.

    The card states name, labels and input size. Its input.mean, input.std and output.activation state what the
    network itself does not apply; docs/bring_your_own_model.md has examples. Heat maps are available if the network
    ends in an average and at most one dense layer.
    """
    images = check_folders(pictures, models)

    from train.importers.foreign import import_keras, import_saved_model, read_card
    from train.importers.keras_file import load_keras

    model_card, precision = read_card(card), ExportPrecision(store, compute)
    if file.is_dir():
        imported = import_saved_model(file, model_card, precision)
    else:
        imported = import_keras(load_keras(file), model_card, precision)
    _export_imported(imported, model_card, images, models, TfliteOptions(tflite, max_loss))


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
    max_loss: MaxLossOption = MAX_LOSS,
) -> None:
    """Import a SavedModel as the next version of a served model, which describes itself.

    Normalisation, layout and activation from the card become part of the version, and it also accepts encoded images.
    The original model is not changed.
    """
    images = check_folders(pictures, models)

    from train.importers.foreign import import_saved_model, read_card

    model_card = read_card(card)
    imported = import_saved_model(folder, model_card, ExportPrecision(store, compute))
    _export_imported(imported, model_card, images, models, TfliteOptions(tflite, max_loss))


@app.command("import-torch")
def import_torch(  # noqa: PLR0913  # each is an option of the command line
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .pth or .safetensors file.")],
    *,
    card: CardFile,
    pictures: ImagesFolder,
    models: ModelsFolder = MODELS,
    store: StoreOption = "float32",
    compute: ComputeOption = "float32",
    tflite: TfliteOption = "auto",
    max_loss: MaxLossOption = MAX_LOSS,
) -> None:
    """Import a PyTorch network as the next version of a served model; PyTorch is not required.

    Supported are torchvision's ResNets and those for CIFAR with a 3x3 stem, of any depth and width, and
    EfficientNet-Lite 0 to 2. Reading a checkpoint executes no code from it. The card's input.mean and input.std are
    those of the training, for pixels of 0 to 255.
    """
    images = check_folders(pictures, models)

    from train.importers.foreign import import_keras, read_card
    from train.importers.torch_networks import network_from_torch
    from train.weights.checkpoints import read_checkpoint

    model_card = read_card(card)
    model = network_from_torch(read_checkpoint(file))
    imported = import_keras(model, model_card, ExportPrecision(store, compute))
    _export_imported(imported, model_card, images, models, TfliteOptions(tflite, max_loss), model)


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
) -> None:
    """Import a network of keras.applications for ImageNet's 1000 classes as the next version of `imagenet`."""
    images = check_folders(pictures, models)

    from train.importers.foreign import import_keras
    from train.importers.published import build_application

    model, card = build_application(network, weights)
    imported = import_keras(model, card, ExportPrecision(store, compute))
    _export_imported(imported, card, images, models, TfliteOptions(tflite, max_loss), model)


@app.command()
def squeezenet(  # noqa: PLR0913, PLR0917  # each is an option of the command line
    weights: Annotated[Path, typer.Argument(metavar="FILE", help="Published .onnx or .caffemodel file.")],
    pictures: ImagesFolder,
    models: ModelsFolder = MODELS,
    store: StoreOption = "float32",
    compute: ComputeOption = "float32",
    tflite: TfliteOption = "auto",
    max_loss: MaxLossOption = MAX_LOSS,
) -> None:
    """Import SqueezeNet 1.1 with its published weights as the next version of `squeezenet`."""
    images = check_folders(pictures, models)

    from train.importers.foreign import import_keras
    from train.importers.published import build_squeezenet

    model, card = build_squeezenet(weights)
    imported = import_keras(model, card, ExportPrecision(store, compute))
    _export_imported(imported, card, images, models, TfliteOptions(tflite, max_loss), model)


def _export_imported(  # noqa: PLR0913, PLR0917  # what the options say
    imported: "ImportedModel",
    model_card: Card,
    images: list[Path],
    models: Path,
    tflite: TfliteOptions,
    model: "keras.Model | None" = None,
) -> None:
    from train.data.examples import to_inputs
    from train.evaluation.cards import round_metrics
    from train.evaluation.evaluate import card_thresholds
    from train.export.export import export_network
    from train.export.forms import CALIBRATION_IMAGES, Samples, choose_forms, measure_forms
    from train.importers.foreign import check_scores, pseudo_label, served_card

    card = served_card(model_card, {"parameters": model.count_params()} if model else {})
    check_scores(imported.network, card)
    examples = pseudo_label(images[:CALIBRATION_IMAGES], card, imported.network)
    inputs = to_inputs(examples, card.input, len(card.labels))
    samples = Samples(inputs, card_thresholds(card), are_labelled=False)
    forms = choose_forms(imported.network, card.input, samples, tflite)
    metrics = measure_forms(forms, {"pictures": samples}).metrics
    card = dataclasses.replace(card, metrics={**card.metrics, **round_metrics(metrics)})
    goldens = examples[:MAX_IMAGES]
    exported = export_network(imported.network, card, goldens, models / card.name, imported.original, forms.tflite)
    console.print(
        f"{exported.path} written: {len(card.labels)} classes; largest difference of a probability from the original's,"
        f" over {len(goldens)} golden images: {exported.largest_difference:.1e};"
        f" heat maps: {'yes' if imported.network.explains else 'no'}",
        soft_wrap=True,
    )
    console.print(forms.decision, soft_wrap=True)
    print_next_step(exported.path)
