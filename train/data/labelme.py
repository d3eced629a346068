"""Labels written by Labelme (https://github.com/wkentaro/labelme): a JSON file for each image, with its flags.

`labelme IMAGES --flags labels.txt` lets a person set flags, here the classes of an image.
"""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field, StrictBool, StrictStr, ValidationError

from train.data.examples import DataError, format_problems


class FlaggedImage(NamedTuple):
    """An image, by its path relative to the folder that was read, and its flags."""

    file: str
    flags: Mapping[str, bool]


def read_labelme(folder: Path) -> list[FlaggedImage]:
    """Read all Labelme files in and below a folder, sorted by path.

    Raises:
        DataError: There are no such files, or a file is not Labelme's, has no flags, or names a missing image; the
            message lists the first such files.
    """
    images, problems = [], []
    for path in sorted(folder.rglob("*.json")):
        try:
            images.append(_read(path, folder))
        except ValueError as error:
            problems.append(f"{path.relative_to(folder)}: {error}")
    if problems:
        raise DataError(f"{folder}: {len(problems)} files cannot be used:\n{format_problems(problems)}")
    if not images:
        raise DataError(f"{folder}: expected Labelme's .json files, found none")
    return images


def write_table(images: Sequence[FlaggedImage], out: Path) -> list[str]:
    """Write a CSV with the column `file` and a 0/1 column for each flag; a missing flag is 0.

    Returns:
        The flags, in the order of their first occurrence.

    Raises:
        FileExistsError: `out` exists.
        OSError: The file cannot be written.
    """
    flags = list(dict.fromkeys(flag for image in images for flag in image.flags))
    with out.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *flags])
        writer.writerows([image.file, *(int(image.flags.get(flag, False)) for flag in flags)] for image in images)
    return flags


class _LabelmeFile(BaseModel):
    image_path: StrictStr = Field(alias="imagePath")
    flags: Annotated[dict[str, StrictBool], Field(min_length=1)]


def _read(path: Path, folder: Path) -> FlaggedImage:
    try:
        file = _LabelmeFile.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError("expected Labelme's imagePath and flags; start Labelme with --flags to set them") from error
    # Labelme on Windows writes backslashes.
    image = path.parent / file.image_path.replace("\\", "/")
    if not image.is_file():
        raise ValueError(f"its image '{file.image_path}' does not exist")
    return FlaggedImage(os.path.relpath(image, folder), file.flags)
