"""Labels that Labelme (https://github.com/wkentaro/labelme) wrote: a JSON file for each picture, with its flags.

`labelme PICTURES --flags labels.txt` lets a person set flags, here the classes that a picture is of.
"""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, Field, StrictBool, StrictStr, ValidationError

from train.data.examples import DataError, enumerate_faults


class Flagged(NamedTuple):
    """A picture, relative to the folder that was looked at, and its flags."""

    file: str
    flags: Mapping[str, bool]


def read_labelme(folder: Path) -> list[Flagged]:
    """Read all of Labelme's files in a folder and those below it, in the order of their paths.

    Raises:
        DataError: There are none, or one is not Labelme's, has no flags, or names an absent picture; each of the
            first few is told.
    """
    found, faults = [], []
    for path in sorted(folder.rglob("*.json")):
        try:
            found.append(_read(path, folder))
        except ValueError as error:
            faults.append(f"{path.relative_to(folder)}: {error}")
    if faults:
        raise DataError(f"{folder}: {len(faults)} files cannot be used:\n{enumerate_faults(faults)}")
    if not found:
        raise DataError(f"{folder}: expected Labelme's .json files, found none")
    return found


def write_table(pictures: Sequence[Flagged], out: Path) -> list[str]:
    """Write a CSV with the column `file` and a 0/1 column for each flag; a flag that a picture lacks is 0.

    Returns:
        The flags, in the order they were first met.

    Raises:
        FileExistsError: `out` exists.
        OSError: It cannot be written.
    """
    flags = list(dict.fromkeys(flag for picture in pictures for flag in picture.flags))
    with out.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *flags])
        writer.writerows(
            [picture.file, *(int(picture.flags.get(flag, False)) for flag in flags)] for picture in pictures
        )
    return flags


class _File(BaseModel):
    picture: StrictStr = Field(alias="imagePath")
    flags: Annotated[dict[str, StrictBool], Field(min_length=1)]


def _read(path: Path, folder: Path) -> Flagged:
    try:
        file = _File.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError("expected Labelme's imagePath and flags; start Labelme with --flags to set them") from error
    # Labelme on Windows writes backslashes.
    picture = path.parent / file.picture.replace("\\", "/")
    if not picture.is_file():
        raise ValueError(f"its picture '{file.picture}' does not exist")
    return Flagged(os.path.relpath(picture, folder), file.flags)
