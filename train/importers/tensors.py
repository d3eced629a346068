"""Arrays by name, as files of weights hold them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from train.errors import TrainError

Array: TypeAlias = npt.NDArray[Any]
Tensors: TypeAlias = Mapping[str, Array]


class WeightsFileError(TrainError):
    """A file of weights that cannot be used; the message names the file, and what was expected and found."""


def read_file(path: Path) -> bytes:
    """Read a file.

    Raises:
        WeightsFileError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsFileError(f"{path}: {error.strerror}") from error


def to_array(data: bytes | memoryview, dtype: str) -> Array:
    """Make an array of little-endian numbers.

    Args:
        data: The numbers.
        dtype: As numpy names it, or ``bfloat16``, which becomes float32.

    Raises:
        ValueError: The bytes are no whole count of numbers.
    """
    if dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
