"""Read weights in the safetensors format (https://github.com/huggingface/safetensors)."""

import json
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

LENGTH_BYTES = 8
"""A file begins with the length of its header, which is JSON; then come the numbers."""
MAX_HEADER_BYTES = 100_000_000
DATA = "data_offsets"
"""Member of an entry of the header: where the numbers of an array begin and end."""


def is_safetensors(path: Path) -> bool:
    """Return whether a file begins as one in the safetensors format, however it is called.

    Raises:
        WeightsFileError: The file cannot be read.
    """
    return _has_header(read_file(path, LENGTH_BYTES + 1))


def read_safetensors(path: Path) -> Tensors:
    """Read all arrays of a file, by name.

    Raises:
        WeightsFileError: The file cannot be read, is truncated, or does not have the safetensors format.
    """
    content = read_file(path)
    if _is_truncated(content):
        raise WeightsFileError(
            f"{path}: expected the safetensors format, but the file is truncated; copy or download it again"
        )
    try:
        entries = deserialize(content)  # type: ignore[no-untyped-call]  # its stub has no types here
        return {name: to_array(spec["data"], DTYPES[spec["dtype"]]).reshape(spec["shape"]) for name, spec in entries}
    except (SafetensorError, KeyError) as error:
        raise WeightsFileError(f"{path}: expected the safetensors format ({error})") from error


def _has_header(content: bytes) -> bool:
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    return length <= MAX_HEADER_BYTES and content.startswith(b"{", LENGTH_BYTES)


def _is_truncated(content: bytes) -> bool:
    """Return whether the file ends before its header does, or before the numbers that the header lists."""
    if not _has_header(content):
        return False
    start = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    if len(content) < start:
        return True
    try:
        ends = [entry[DATA][1] for entry in json.loads(content[LENGTH_BYTES:start]).values() if DATA in entry]
        return max(ends, default=0) > len(content) - start
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return False  # not as the format says, which its own reader explains
