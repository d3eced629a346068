"""Writes small sets of different images, laid out as users have them."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.support.image_files import encoded

TARGETS = ["beach", "city", "sunset", "trees"]
DATA_CONFIG: dict[str, Any] = {
    "input_shape": [None, None, 3],
    "resize_shape": [24, 32],
    "images_base_path": "photos",
    "targets": TARGETS,
    "image_name_col": "name",
}
TRAINING_CONFIG: dict[str, Any] = {
    "use_augmentation": True,
    "batch_size": 32,
    "epochs": 1000,
    "initial_learning_rate": 0.0001,
    "model_path": "image_classification.h5",
}


def noise_image(number: int, extension: str = ".png", side: int = 12) -> bytes:
    """Return an encoded image of noise, different for each number."""
    return encoded(np.random.default_rng(number).integers(0, 256, (side, side + 4, 3), np.uint8), extension)


def write_folders(folder: Path, counts: dict[str, int]) -> None:
    """Write `CLASS/N.png`, with the given number of images for each class."""
    number = 0
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            (folder / name / f"{index}.png").write_bytes(noise_image(number))
            number += 1


def write_three_files(folder: Path, **changes: Any) -> list[Path]:
    """Write a small version of FastImageClassification's example, and return its three files."""
    (folder / "photos").mkdir()
    rows = [f"{number}.jpg,{number % 2},{number // 2 % 2},{number // 4 % 2},0.0" for number in range(16)]
    rows += [f"{number}.jpg,0,0,0,1.0" for number in range(16, 20)]
    for number in range(20):
        (folder / f"photos/{number}.jpg").write_bytes(noise_image(number, ".jpg"))
    paths = [folder / name for name in ("data.csv", "data_config.yaml", "training_config.yaml")]
    paths[0].write_text("\n".join([f"name,{','.join(TARGETS)}", *rows]))
    documents = DATA_CONFIG | {"images_base_path": str(folder / "photos")}, TRAINING_CONFIG
    for path, document in zip(paths[1:], documents, strict=True):
        path.write_text(yaml.safe_dump({key: changes.get(key, value) for key, value in document.items()}))
    return paths
