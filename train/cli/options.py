"""Arguments and options that several commands have."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from train.export.golden import MAX_IMAGES
from train.export.precision import Compute, TfliteMode, Weights

MODELS = Path("serving_models")

RunFolder: TypeAlias = Annotated[
    Path, typer.Argument(metavar="RUN", help="Folder of a finished run, such as runs/digits.")
]
DataFolder: TypeAlias = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set, instead of the configuration's.")
]
CardFile: TypeAlias = Annotated[Path, typer.Option("--card", help="Model card, JSON: inputs and outputs of the model.")]
ImagesFolder: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--pictures", help=f"Folder of images that calibrate int8; the first {MAX_IMAGES} become the golden images."
    ),
]
ModelsFolder: TypeAlias = Annotated[Path, typer.Option("--models", help="Folder of the served models.")]
StoreOption: TypeAlias = Annotated[Weights, typer.Option("--store", help="Number type in which weights are stored.")]
ComputeOption: TypeAlias = Annotated[
    Compute, typer.Option("--compute", help="Number type in which convolutions compute.")
]
TfliteOption: TypeAlias = Annotated[
    TfliteMode, typer.Option("--tflite", help="Type of the TensorFlow Lite form; auto takes int8 if that pays.")
]
MaxLossOption: TypeAlias = Annotated[
    float, typer.Option("--max-loss", min=0, help="Points of accuracy that int8 may cost in the TensorFlow Lite form.")
]
VariantOption: TypeAlias = Annotated[
    Literal["plain", "tf"] | None,
    typer.Option(
        help="The network of timm, if `efficientnet_b0` and `tf_efficientnet_b0` have the same tensors.",
        show_default="what the checkpoint or its file name says, else plain",
    ),
]
LabelledOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--labelled", help="Labelled images, as a folder for each class or a CSV file: calibrates and measures."
    ),
]
RecordedOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--recorded", help="File with what the model's own framework returned (.npz); compared."),
]
SignatureOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--signature", help="Signature of the SavedModel.", show_default="serving_default or the only one"),
]
