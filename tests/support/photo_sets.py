"""Small sets of pictures on disk, all different, as people have them."""

from pathlib import Path

import numpy as np

from tests.support.image_files import encoded


def picture(number: int, extension: str = ".png", side: int = 12) -> bytes:
    """Noise, another for each number."""
    return encoded(np.random.default_rng(number).integers(0, 256, (side, side + 4, 3), np.uint8), extension)


def write_folders(folder: Path, counts: dict[str, int]) -> None:
    """Make `CLASS/N.png`, so many of each class."""
    number = 0
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            (folder / name / f"{index}.png").write_bytes(picture(number))
            number += 1
