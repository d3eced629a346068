"""Read weights in the safetensors format (https://github.com/huggingface/safetensors)."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, deserialize

from train.weights.tensors import Tensors, WeightsFileError, read_file, to_array

DTYPES: Mapping[str, str] = {
    "F64": "f8",
    "F32": "f4",
    "F16": "f2",
    "BF16": "bfloat16",
    "I64": "i8",
    "I32": "i4",
    "U8": "u1",
    "BOOL": "?",
}
"""The format's names to those of `to_array`. The package's own numpy reader rejects BF16, which numpy lacks."""


def read_safetensors(path: Path) -> Tensors:
    """Read all arrays of a file, by name.

    Raises:
        WeightsFileError: The file cannot be read, or does not have the safetensors format.
    """
    try:
        entries = deserialize(read_file(path))  # type: ignore[no-untyped-call]  # its stub has no types here
        return {name: to_array(spec["data"], DTYPES[spec["dtype"]]).reshape(spec["shape"]) for name, spec in entries}
    except (SafetensorError, KeyError) as error:
        raise WeightsFileError(f"{path}: expected the safetensors format ({error})") from error
