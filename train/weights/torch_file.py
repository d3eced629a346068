"""Read PyTorch checkpoints without PyTorch.

The formats are the zip format that `torch.save` has written since 1.6 and the earlier one (torch/serialization.py),
both in little-endian order.
"""

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from train.weights.pickle_opcodes import ForbiddenError
from train.weights.state_dict import Checkpoint, find_architecture, find_state_dict, to_checkpoint
from train.weights.tensors import Array, Tensors, WeightsFileError, read_file, to_array
from train.weights.torch_pickle import SafeUnpickler, Storage, TensorView

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
COUNT_BYTES = 8
MAX_EXPANSION = 4
"""A file that becomes more bytes of arrays than this multiple of its own is refused. bfloat16 becomes twice as many."""
PROGRAMS: Mapping[str, str] = {
    "/constants.pkl": "a TorchScript program; save the state dictionary of torch.jit.load(FILE)",
    "/archive_format": "a program of torch.export; save the state dictionary of torch.export.load(FILE)",
}
"""Ends of the names of entries by which zip files of PyTorch with another content are recognised."""
OTHER_IMPORTS: Mapping[str, str] = {
    ".onnx": "; import it with python -m train import-onnx",
    ".keras": "; import it with python -m train import-keras",
    ".h5": "; import it with python -m train import-keras",
}
"""What to do with files of other formats, by the end of their name."""

ReadStorage = Callable[[Storage], bytes | memoryview]


class _TruncatedError(Exception):
    """The file ends before its numbers do."""


def read_torch(path: Path) -> Checkpoint:
    """Read the tensors of the state dictionary in a checkpoint.

    Raises:
        WeightsFileError: The file cannot be read, is not a checkpoint, or contains no state dictionary.
    """
    content = read_file(path)
    try:
        root, read_storage = _read_zip(content) if content.startswith(ZIP_MAGIC) else _read_legacy(content)
        state = find_state_dict(root)
        tensors = _arrays(state.tensors, read_storage, MAX_EXPANSION * len(content))
    except ForbiddenError as error:
        raise WeightsFileError(
            f"{path}: expected a dictionary of tensors, as torch.save(model.state_dict(), ...) writes it, but {error}"
        ) from error
    except (_TruncatedError, EOFError) as error:
        raise WeightsFileError(
            f"{path}: expected a PyTorch checkpoint, but the file is truncated; copy or download it again"
        ) from error
    except Exception as error:  # a damaged pickle can raise almost any exception
        hint = OTHER_IMPORTS.get(path.suffix.lower(), "")
        raise WeightsFileError(
            f"{path}: expected a PyTorch checkpoint, but the file has another format or is damaged{hint}"
        ) from error
    return to_checkpoint(tensors, path, find_architecture(root), state.keys, state.others)


def _read_zip(content: bytes) -> tuple[object, ReadStorage]:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise _TruncatedError  # the list of a zip file's entries is at its end
    archive = zipfile.ZipFile(io.BytesIO(content))
    entries = archive.infolist()
    for end, program in PROGRAMS.items():
        if any(entry.filename.endswith(end) for entry in entries):
            raise ForbiddenError(f"it is {program}")
    if any(entry.file_size > len(content) for entry in entries):
        raise ForbiddenError("it is compressed, which torch.save never does")
    (pickle_name,) = (entry.filename for entry in entries if entry.filename.endswith("/data.pkl"))
    folder = pickle_name.removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise ForbiddenError("its numbers are big-endian")
    root = SafeUnpickler(io.BytesIO(archive.read(pickle_name))).load()
    return root, lambda storage: archive.read(f"{folder}data/{storage.key}")


def _read_legacy(content: bytes) -> tuple[object, ReadStorage]:
    file = io.BytesIO(content)
    if SafeUnpickler(file).load() != LEGACY_MAGIC:
        raise ForbiddenError(
            "it is a pickle of another program; accepted are .pth and .pt files of torch.save, and .safetensors"
        )
    protocol, system = (SafeUnpickler(file).load() for _ in range(2))
    if (protocol, system["little_endian"]) != (LEGACY_PROTOCOL, True):
        raise ForbiddenError("it was written by an unknown version of torch.save")
    reader = SafeUnpickler(file)
    root = reader.load()
    keys = SafeUnpickler(file).load()
    numbers = {key: _next_numbers(file, memoryview(content), reader.storages[key].dtype) for key in keys}
    return root, lambda storage: numbers[storage.key]


def _next_numbers(file: BinaryIO, content: memoryview, dtype: str) -> memoryview:
    """Return the numbers of the next storage in a file's content without copying them, and go on behind them."""
    count = int.from_bytes(file.read(COUNT_BYTES), "little")
    start = file.tell()
    end = start + count * (2 if dtype == "bfloat16" else np.dtype(dtype).itemsize)
    if end > len(content):
        raise _TruncatedError
    file.seek(end)
    return content[start:end]


def _arrays(views: Mapping[str, TensorView], read_storage: ReadStorage, max_bytes: int) -> Tensors:
    """Return the arrays that are views of storages; each storage is read once, and only one is held at a time."""
    names_by_storage: dict[Storage, list[str]] = {}
    for name, view in views.items():
        names_by_storage.setdefault(view.storage, []).append(name)
    arrays: dict[str, Array] = {}
    for storage, names in names_by_storage.items():
        numbers = to_array(read_storage(storage), storage.dtype)
        for name in names:
            arrays[name] = _array(views[name], numbers)
            max_bytes -= arrays[name].nbytes
            if max_bytes < 0:
                raise ForbiddenError("its tensors are larger than the file: many share the same numbers")
    return {name: arrays[name] for name in views}


def _array(tensor: TensorView, numbers: Array) -> Array:
    """Return a copy of the part of a storage's numbers that a tensor is a view of."""
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape:
        return np.empty(tensor.shape, numbers.dtype)
    if last >= len(numbers) or math.prod(tensor.shape) > len(numbers):
        raise ForbiddenError(
            f"a tensor of shape {tensor.shape} extends to number {last} of a storage with {len(numbers)} numbers"
        )
    steps = [stride * numbers.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps).copy()
