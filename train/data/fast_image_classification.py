"""Converts configurations of FastImageClassification (https://github.com/CVxTz/FastImageClassification).

That project trains MobileNetV2 on images of any number of classes, from `data.csv` with a 0/1 column for each class,
`data_config.yaml` and `training_config.yaml`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from train.config.config_base import ConfigBase, Count, Positive
from train.config.training_config import load_yaml
from train.data.examples import DataError
from train.data.propose import INPUT, MOBILENET, TRAINING, Proposal

PATIENCE = 20
AUGMENTATION: Mapping[str, Any] = {
    "rotation_degrees": 20,
    "scale": [0.8, 1.2],
    "shear": 0.36,
    "shift": 0.2,
    "share": 0.47,
    "flip": True,
    "blur": 0.1,
    "noise": 0.022,
}
AUGMENTATION_REMARK = (
    "FastImageClassification changes a tenth of the images by each of nine operations. Rotation, scale, shear and shift"
    " keep its ranges, but are one operation, for the 47 % of the images that get at least one of them there. Its noise"
    " of 0.07 for a tenth of the images becomes 0.022 for all, which has the same variance on average. Blur is by up to"
    " one pixel instead of three, and half of the images are flipped instead of a twentieth."
)
"""The augmentation is part of the project's code, not of its files."""


class ForeignDataConfig(ConfigBase):
    """The project's `data_config.yaml`.

    Attributes:
        input_shape: Rows and columns, which may be null, and three channels.
        resize_shape: Rows and columns of a model input.
        images_base_path: Folder of the images.
        targets: The classes, each a column of the CSV.
        image_name_col: Column with the path of each image.
    """

    input_shape: tuple[Count | None, Count | None, Annotated[int, Field(ge=3, le=3)]]
    resize_shape: tuple[Count, Count]
    images_base_path: Path
    targets: Annotated[tuple[str, ...], Field(min_length=2)]
    image_name_col: str


class ForeignTrainingConfig(ConfigBase):
    """The project's `training_config.yaml`.

    Attributes:
        use_augmentation: Whether images are changed at random.
        batch_size: Images per step.
        epochs: Largest number of epochs; training stops earlier when the validation loss falls no more.
        initial_learning_rate: Peak learning rate.
        model_path: Target file of the network; its name becomes the title.
    """

    use_augmentation: bool
    batch_size: Count
    epochs: Count
    initial_learning_rate: Positive
    model_path: Path


def convert(csv_path: Path, data_config_path: Path, training_config_path: Path) -> Proposal:
    """Convert the three files into a configuration.

    Classes, input size, batch size and learning rate are kept, and the augmentation as closely as possible. In
    addition, the last layer is trained first on its own, and training stops after `PATIENCE` epochs without progress.

    Raises:
        ConfigError: A YAML file cannot be read or holds unusable values.
        DataError: The CSV or the folder of the images does not exist.
    """
    data = load_yaml(data_config_path, ForeignDataConfig)
    training = load_yaml(training_config_path, ForeignTrainingConfig)
    if not data.images_base_path.is_dir():
        raise DataError(
            f"{data_config_path}: images_base_path: {data.images_base_path} is not a folder; relative paths start from"
            " the current directory, as in FastImageClassification"
        )
    if not csv_path.is_file():
        raise DataError(f"{csv_path}: expected a CSV file, found none")
    height, width = data.resize_shape
    document = {
        "title": training.model_path.stem,
        "description": f"Classifies photos: {', '.join(data.targets)}.",
        "labels": list(data.targets),
        "task": "multilabel",
        "seed": 1,
        "input": {**INPUT, "height": height, "width": width},
        "data": {
            "kind": "csv",
            "directory": str(data.images_base_path),
            "file": os.path.relpath(csv_path, data.images_base_path),
            "image_column": data.image_name_col,
            "title": csv_path.stem,
            "licence": "not stated",
        },
        "model": dict(MOBILENET),
        **({"augmentation": dict(AUGMENTATION)} if training.use_augmentation else {}),
        "training": {
            **TRAINING,
            "epochs": training.epochs,
            "batch_size": training.batch_size,
            "learning_rate": training.initial_learning_rate,
            "patience": PATIENCE,
        },
    }
    return Proposal(document, [AUGMENTATION_REMARK] if training.use_augmentation else [])
