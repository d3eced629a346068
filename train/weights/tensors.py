"""Arrays by name, the content of every file of weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from train.errors import TrainError

Array: TypeAlias = npt.NDArray[Any]
Tensors: TypeAlias = Mapping[str, Array]
MAX_QUOTED = 5
"""Names of tensors that a message shows."""


class WeightsFileError(TrainError):
    """A file of weights cannot be used; the message says what was expected and what was found."""


def read_file(path: Path, max_bytes: int = -1) -> bytes:
    """Read a file, or its start if a number of bytes is given.

    Raises:
        WeightsFileError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(max_bytes)
    except OSError as error:
        raise WeightsFileError(f"{path}: {error.strerror}") from error


def to_array(data: bytes | memoryview, dtype: str) -> Array:
    """Interpret bytes as an array of little-endian numbers.

    Args:
        data: The bytes.
        dtype: A numpy dtype, or ``bfloat16``, which is widened to float32.

    Raises:
        ValueError: The number of bytes is not a multiple of the item size.
    """
    if dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"))
