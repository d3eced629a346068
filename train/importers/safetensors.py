"""The safetensors format: a length, a JSON header and the numbers (https://github.com/huggingface/safetensors)."""

import json
import math
from pathlib import Path
from typing import Any

from train.importers.tensors import Array, Tensors, WeightsFileError, read_file, to_array

LENGTH_BYTES = 8
DTYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bfloat16", "I64": "i8", "I32": "i4", "U8": "u1", "BOOL": "?"}


def read_safetensors(path: Path) -> Tensors:
    """Read the arrays of a file.

    Raises:
        WeightsFileError: It cannot be read, or is not of this format.
    """
    content = memoryview(read_file(path))
    try:
        end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
        header: dict[str, Any] = json.loads(bytes(content[LENGTH_BYTES:end]))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: _array(content[end:], entry) for name, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsFileError(f"{path}: expected the safetensors format: {error!r}") from error


def _array(numbers: memoryview, entry: dict[str, Any]) -> Array:
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= len(numbers):
        raise ValueError(f"numbers {start} to {end} of a file that has {len(numbers)}")
    array = to_array(numbers[start:end], DTYPES[entry["dtype"]])
    if array.size != math.prod(entry["shape"]):
        raise ValueError(f"{array.size} numbers for the shape {entry['shape']}")
    return array.reshape(entry["shape"])
