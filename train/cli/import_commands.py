"""Commands that take over models from elsewhere: the next version of a served model, without any training."""

# What brings in TensorFlow is imported when a command runs, for --help need not wait seconds for it.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from train.cli.console import console
from train.export.golden import MOST
from train.export.precision import Compute, ExportPrecision, Weights
from vision.card import Card

if TYPE_CHECKING:
    import keras

    from train.importers.foreign import Imported

app = typer.Typer()

CardFile = Annotated[Path, typer.Option("--card", help="What the model takes and gives, JSON; see below.")]
Pictures = Annotated[Path, typer.Option("--pictures", help=f"Folder; its first {MOST} become the golden images.")]
Models = Annotated[Path, typer.Option("--models", help="Folder of the served models.")]
WeightsForm = Annotated[Weights, typer.Option("--store", help="How weights are stored.")]
ComputeForm = Annotated[Compute, typer.Option("--compute", help="What convolutions are done in.")]
MODELS = Path("serving_models")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")


@app.command("import-keras")
def import_keras_model(  # noqa: PLR0913  # each is an option of the command line
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .keras or .h5 file, or a SavedModel's directory.")],
    *,
    card: CardFile,
    pictures: Pictures,
    models: Models = MODELS,
    store: WeightsForm = "float32",
    compute: ComputeForm = "float32",
) -> None:
    """Write a Keras model as the next version of a served model.

    The card tells name, labels, size, and in input.mean, input.std and output.activation what was left out of the
    network; docs/bring_your_own_model.md has examples. Heat maps work where the network ends in an average and at
    most one dense layer.
    """
    from train.importers.foreign import import_keras, import_saved_model, read_card
    from train.importers.keras_file import load_keras

    told, precision = read_card(card), ExportPrecision(store, compute)
    made = (
        import_saved_model(file, told, precision) if file.is_dir() else import_keras(load_keras(file), told, precision)
    )
    _publish(made, told, pictures, models)


@app.command("describe")
def describe_saved_model(  # noqa: PLR0913  # each is an option of the command line
    folder: Annotated[Path, typer.Argument(metavar="SAVEDMODEL", help="Directory with saved_model.pb.")],
    *,
    card: CardFile,
    pictures: Pictures,
    models: Models = MODELS,
    store: WeightsForm = "float32",
    compute: ComputeForm = "float32",
) -> None:
    """Write a foreign SavedModel as the next version of a served model, which describes itself.

    Normalisation, layout and activation that the card tells of become part of it, and it can be asked about
    encoded pictures. The model itself stays as it is.
    """
    from train.importers.foreign import import_saved_model, read_card

    told = read_card(card)
    _publish(import_saved_model(folder, told, ExportPrecision(store, compute)), told, pictures, models)


@app.command("import-torch")
def import_torch(  # noqa: PLR0913  # each is an option of the command line
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .pth or .safetensors file of a ResNet.")],
    *,
    card: CardFile,
    pictures: Pictures,
    models: Models = MODELS,
    store: WeightsForm = "float32",
    compute: ComputeForm = "float32",
) -> None:
    """Write a PyTorch ResNet as the next version of a served model; PyTorch is not needed.

    Known are torchvision's networks and those for CIFAR with a 3x3 stem, of any depth and width. Checkpoints are
    read without running anything in them. The card's input.mean and input.std are those of the training, times 255.
    """
    from train.importers.foreign import import_keras, read_card
    from train.importers.resnet import resnet_from_torch
    from train.importers.safetensors import read_safetensors
    from train.importers.torch_file import read_torch

    told = read_card(card)
    model = resnet_from_torch(read_safetensors(file) if file.suffix == ".safetensors" else read_torch(file))
    _publish(import_keras(model, told, ExportPrecision(store, compute)), told, pictures, models, model)


@app.command()
def imagenet(  # noqa: PLR0913  # each is an option of the command line
    *,
    pictures: Pictures,
    network: Annotated[
        Literal["MobileNetV2", "ResNet50", "InceptionV3", "DenseNet121"], typer.Option(help="Which network.")
    ] = "MobileNetV2",
    weights: Annotated[
        Path | None, typer.Option(help="File of its weights, as Keras publishes it.", show_default="downloaded")
    ] = None,
    models: Models = MODELS,
    store: WeightsForm = "float32",
    compute: ComputeForm = "float32",
) -> None:
    """Write a network of keras.applications with ImageNet's thousand classes as the next version of `imagenet`."""
    from train.importers.foreign import import_keras
    from train.importers.published import application

    model, card = application(network, weights)
    _publish(import_keras(model, card, ExportPrecision(store, compute)), card, pictures, models, model)


@app.command()
def squeezenet(
    weights: Annotated[Path, typer.Argument(metavar="FILE", help="The published .onnx or .caffemodel file.")],
    pictures: Pictures,
    models: Models = MODELS,
    store: WeightsForm = "float32",
    compute: ComputeForm = "float32",
) -> None:
    """Write SqueezeNet 1.1 with its published weights as the next version of `squeezenet`."""
    from train.importers.foreign import import_keras
    from train.importers.published import squeezenet as read_squeezenet

    model, card = read_squeezenet(weights)
    _publish(import_keras(model, card, ExportPrecision(store, compute)), card, pictures, models, model)


def _publish(made: "Imported", told: Card, pictures: Path, models: Path, model: "keras.Model | None" = None) -> None:
    from train.export.export import export_network
    from train.importers.foreign import served_card, unlabelled

    card = served_card(told, {"parameters": model.count_params()} if model else {})
    chosen = sorted(path for path in pictures.rglob("*") if path.suffix.lower() in SUFFIXES)[:MOST]
    examples = unlabelled(chosen, card, made.network)
    exported = export_network(made.network, card, examples, models / card.name, made.original)
    console.print(
        f"{exported.path} written: {len(card.labels)} classes; no probability of {len(examples)} golden images differs"
        f" from the original's by more than {exported.largest_difference:.1e};"
        f" heat maps: {'yes' if made.network.explains else 'no'}",
        soft_wrap=True,
    )
