"""The options that every import has."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.cli.folders import check_folders
from train.cli.options import (
    MODELS,
    ComputeOption,
    ImagesFolder,
    LabelledOption,
    MaxLossOption,
    ModelsFolder,
    RecordedOption,
    StoreOption,
    TfliteOption,
)
from train.export.precision import MAX_LOSS, ExportPrecision, TfliteOptions


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
    """

    images: list[Path]
    models: Path
    precision: ExportPrecision
    tflite: TfliteOptions
    labelled: Path | None = None
    recorded: Path | None = None


def read_import_options(  # noqa: PLR0913  # each is an option of the command line
    *,
    pictures: ImagesFolder,
    models: ModelsFolder = MODELS,
    store: StoreOption = "float32",
    compute: ComputeOption = "float32",
    tflite: TfliteOption = "auto",
    max_loss: MaxLossOption = MAX_LOSS,
    labelled: LabelledOption = None,
    recorded: RecordedOption = None,
) -> ImportOptions:
    """Return what the options say, after a check of the folders.

    Raises:
        TrainError: There is no image, or `models` cannot be written.
    """
    images = check_folders(pictures, models)
    return ImportOptions(
        images, models, ExportPrecision(store, compute), TfliteOptions(tflite, max_loss), labelled, recorded
    )


def with_import_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of every import after its own; it gets them as its first argument.

    Typer reads the parameters of a command from its signature.
    """
    (_, *own), shared = (
        [*inspect.signature(function).parameters.values()] for function in (command, read_import_options)
    )
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *shared)]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        options = read_import_options(**{parameter.name: values.pop(parameter.name) for parameter in shared})
        command(options, **values)

    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run
