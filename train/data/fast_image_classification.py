"""Configurations of FastImageClassification (https://github.com/CVxTz/FastImageClassification), turned into ours.

It trains MobileNetV2 on pictures of any number of classes, from `data.csv` with a 0/1 column for each class,
`data_config.yaml` and `training_config.yaml`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from train.config.config_base import ConfigBase, Count, Positive
from train.config.training_config import load_section
from train.data.examples import DataError
from train.data.propose import INPUT, MODEL, TRAINING

PATIENCE = 20
# What it changes about a tenth of the images with, each by itself, as far as these layers go.
AUGMENTATION: Mapping[str, Any] = {
    "rotation_degrees": 20,
    "scale": [0.8, 1.2],
    "shear": 0.2,
    "shift": 0.2,
    "share": 0.4,
    "flip": True,
    "blur": 0.1,
    "noise": 0.01,
}


class DataConfig(ConfigBase):
    """`data_config.yaml`.

    Attributes:
        input_shape: Rows and columns may be null; three channels.
        resize_shape: Rows and columns of a model input.
        images_base_path: Folder of the pictures.
        targets: The classes, each a column of the CSV.
        image_name_col: Column with the path of each picture.
    """

    input_shape: tuple[Count | None, Count | None, Annotated[int, Field(ge=3, le=3)]]
    resize_shape: tuple[Count, Count]
    images_base_path: Path
    targets: Annotated[tuple[str, ...], Field(min_length=2)]
    image_name_col: str


class TrainingConfig(ConfigBase):
    """`training_config.yaml`.

    Attributes:
        use_augmentation: Whether images are changed at random.
        batch_size: Images per step.
        epochs: At most; it stops when the validation loss falls no more.
        initial_learning_rate: At its highest.
        model_path: Where the network shall be written; of ours, the name.
    """

    use_augmentation: bool
    batch_size: Count
    epochs: Count
    initial_learning_rate: Positive
    model_path: Path


def convert(csv_path: Path, data_config_path: Path, training_config_path: Path) -> dict[str, Any]:
    """Make a configuration, without a name, of the three files.

    The classes, the size of the inputs, the batches, the learning rate and the augmentation are taken over; the
    last layer learns alone first, and training stops after `PATIENCE` epochs without progress.

    Raises:
        ConfigError: A YAML file cannot be read or says something that cannot be used.
        DataError: The CSV or the folder of the pictures is not there.
    """
    data = load_section(data_config_path, DataConfig)
    training = load_section(training_config_path, TrainingConfig)
    if not data.images_base_path.is_dir():
        raise DataError(
            f"{data_config_path}: images_base_path: {data.images_base_path} is no folder; as there, relative paths"
            " begin where the command is started"
        )
    if not csv_path.is_file():
        raise DataError(f"{csv_path}: expected a CSV file, found none")
    height, width = data.resize_shape
    return {
        "title": training.model_path.stem,
        "description": f"Tells what a photo shows: {', '.join(data.targets)}.",
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
        "model": dict(MODEL),
        **({"augmentation": dict(AUGMENTATION)} if training.use_augmentation else {}),
        "training": {
            **TRAINING,
            "epochs": training.epochs,
            "batch_size": training.batch_size,
            "learning_rate": training.initial_learning_rate,
            "patience": PATIENCE,
        },
    }
