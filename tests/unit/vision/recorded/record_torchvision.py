"""Record what torchvision's transforms make of pictures of odd sizes, as SHA-256 of the pixels.

    python -m tests.unit.vision.recorded.record_torchvision

needs torchvision 0.29 and Pillow; torchvision is not a dependency of the project.
"""

import hashlib
import json
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision import transforms
from torchvision.transforms import v2

from tests.support.striped_pictures import draw_stripes

FILE = Path(__file__).with_name("torchvision.json")
SIZES = {
    "landscape": (375, 500),
    "portrait": (501, 334),
    "tiny": (13, 19),
    "one pixel": (1, 1),
    "of the size": (256, 256),
    "of the crop": (224, 224),
    "odd remainder": (256, 257),
    "panorama": (97, 1_201),
    "large": (801, 603),
}
"""Height and width of each picture."""
RECIPES = {"ResNet": (256, (224, 224)), "timm, crop_pct 0.95": (235, (224, 224)), "oblong": (96, (80, 61))}
"""Length of the shorter side, then height and width of the crop."""


def record(size: tuple[int, int], recipe: tuple[int, tuple[int, int]], interpolation: str) -> str:
    resize_size, crop_size = recipe
    picture = Image.fromarray(draw_stripes(*size))
    mode = transforms.InterpolationMode(interpolation)
    outputs = [
        np.asarray(kind.CenterCrop(crop_size)(kind.Resize(resize_size, mode, antialias=True)(picture)))
        for kind in (transforms, v2)
    ]
    assert np.array_equal(*outputs)
    return hashlib.sha256(outputs[0].tobytes()).hexdigest()


def main() -> None:
    records = [
        {
            "picture": picture,
            "size": SIZES[picture],
            "resize_size": RECIPES[recipe][0],
            "crop_size": RECIPES[recipe][1],
            "interpolation": interpolation,
            "sha256": record(SIZES[picture], RECIPES[recipe], interpolation),
        }
        for picture, recipe, interpolation in product(SIZES, RECIPES, ("bilinear", "bicubic"))
    ]
    FILE.write_text("[\n" + ",\n".join(f" {json.dumps(item)}" for item in records) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
