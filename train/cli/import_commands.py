"""Commands that import models from elsewhere as versions of served models, without training."""

# Modules that import TensorFlow are imported by the commands, since TensorFlow would delay --help by seconds.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated, Literal

import typer

from train.cli.console import console
from train.cli.import_model import import_model
from train.cli.import_options import ImportOptions, with_import_options
from train.cli.options import CardFile, SignatureOption, VariantOption
from train.errors import TrainError

ONNX_HINT = "install onnxruntime, or record what it returns, and name the file by --recorded"
TORCH_HINT = "record what PyTorch returns with python -m train record-torch, and name the file by --recorded"

app = typer.Typer()


@app.command("import-keras")
@with_import_options
def import_keras_model(
    options: ImportOptions,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .keras or .h5 file, or the folder of a SavedModel.")],
    *,
    card: CardFile,
    signature: SignatureOption = None,
) -> None:
    """Import a Keras model as the next version of a served model.

    The card states name, labels and input size. Its input.mean, input.std and output.activation state what the
    network itself does not apply; docs/guides/bring_your_own_model.md has examples. Heat maps are available if
    the network ends in an average and at most one dense layer.
    """
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
    import_model(model, model_card, options)


@app.command("describe")
@with_import_options
def describe_saved_model(
    options: ImportOptions,
    folder: Annotated[Path, typer.Argument(metavar="SAVEDMODEL", help="Folder with saved_model.pb.")],
    *,
    card: CardFile,
    signature: SignatureOption = None,
) -> None:
    """Import a SavedModel as the next version of a served model, which describes itself.

    Normalisation, layout and activation from the card become part of the version, and it also accepts encoded images.
    The original model is not changed.
    """
    from train.importers.cards import read_card
    from train.importers.foreign import from_saved_model

    model_card = read_card(card)
    import_model(from_saved_model(folder, model_card, signature), model_card, options)


@app.command("import-torch")
@with_import_options
def import_torch(
    options: ImportOptions,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint: .pth, .pt, .ckpt or .safetensors.")],
    *,
    card: CardFile,
    variant: VariantOption = None,
) -> None:
    """Import a PyTorch network as the next version of a served model; PyTorch is not required.

    Supported are ResNet, ResNeXt, MobileNetV2 and V3, EfficientNet, EfficientNet-Lite and ConvNeXt, as torchvision
    and timm name their weights; docs/guides/bring_your_own_model.md lists them. Reading a checkpoint executes
    no code from it. The card's input.mean and input.std are those of the training, for pixels of 0 to 255.
    """
    from train.importers.cards import read_card
    from train.importers.foreign import from_keras
    from train.importers.torch_networks import network_from_torch
    from train.weights.checkpoints import read_checkpoint

    model_card = read_card(card)
    checkpoint = read_checkpoint(file)
    if note := str(checkpoint.source):
        console.print(f"{file.name}: {note}.", markup=False, soft_wrap=True)
    import_model(from_keras(network_from_torch(checkpoint, variant), model_card), model_card, options, TORCH_HINT)


@app.command("import-onnx")
@with_import_options
def import_onnx(
    options: ImportOptions,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An .onnx file.")],
    *,
    card: CardFile,
) -> None:
    """Import an ONNX classifier as the next version of a served model.

    Operators that image classifiers consist of are supported, and others are named. They are read as opsets 7 to 21
    define them; of another opset the command warns. The result is compared with ONNX Runtime if that is installed.
    Heat maps are available if the network ends in an average and at most one dense layer.
    """
    from train.importers.cards import read_card
    from train.importers.onnx_model import from_onnx

    model_card = read_card(card)
    import_model(from_onnx(file, model_card), model_card, options, ONNX_HINT)


@app.command()
@with_import_options
def imagenet(
    options: ImportOptions,
    *,
    network: Annotated[
        Literal["MobileNetV2", "ResNet50", "InceptionV3", "DenseNet121"], typer.Option(help="Name of the network.")
    ] = "MobileNetV2",
    weights: Annotated[
        Path | None, typer.Option(help="File of its weights, as published by Keras.", show_default="downloaded")
    ] = None,
) -> None:
    """Import a network of keras.applications for ImageNet's 1000 classes as the next version of `imagenet`."""
    import keras

    from train.importers.foreign import from_keras
    from train.importers.published import build_application

    model, card = build_application(network, weights)
    import_model(from_keras(model, card, f"Keras {keras.__version__}"), card, options)


@app.command()
@with_import_options
def squeezenet(
    options: ImportOptions,
    weights: Annotated[Path, typer.Argument(metavar="FILE", help="Published .onnx or .caffemodel file.")],
) -> None:
    """Import SqueezeNet 1.1 with its published weights as the next version of `squeezenet`."""
    from train.importers.foreign import from_keras
    from train.importers.published import build_squeezenet

    model, card = build_squeezenet(weights)
    import_model(from_keras(model, card), card, options)
