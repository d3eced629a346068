"""Checkpoints that PyTorch wrote, without PyTorch and without running what they say.

Such a file is a pickle, which may name any function to be called while it is read. Here it may name those that
make up a dictionary of tensors; whatever else it names ends the reading. Formats: the zip file that `torch.save`
writes since 1.6 and the one before it (torch/serialization.py), both in little-endian order.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from train.importers.tensors import Array, Tensors, WeightsFileError, read_file, to_array

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
COUNT_BYTES = 8
STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Under which names training programs put the tensors among other things."""

Read = Callable[["_Storage"], bytes]


class _RefusedError(pickle.UnpicklingError):
    """The pickle names something that is not allowed."""


class _Storage(NamedTuple):
    """A run of numbers. As a tuple it cannot be changed by what a pickle says of it later; a dataclass could."""

    key: str
    dtype: str


class _Tensor(NamedTuple):
    """A view on a storage, in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> _Tensor:
    """Stand in for `torch._utils._rebuild_tensor_v2`."""
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise _RefusedError("a tensor without numbers or shape")
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise _RefusedError("a tensor whose shape makes no sense")
    return _Tensor(storage, int(numbers[0]), shape, strides)


def _rebuild_parameter(tensor: object, *_: object) -> object:
    """Stand in for `torch._utils._rebuild_parameter`."""
    return tensor


ALLOWED: Mapping[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
} | {("torch", name): dtype for name, dtype in STORAGES.items()}


class _Reader(pickle.Unpickler):
    """A reader of pickles that knows `ALLOWED` and nothing else.

    Args:
        file: Read from where it stands.

    Attributes:
        storages: What was referred to, by key.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module_name: str, global_name: str) -> object:
        """Return what stands in for a global."""
        try:
            return ALLOWED[module_name, global_name]
        except KeyError:
            raise _RefusedError(f"it names {module_name}.{global_name}, which is no part of a tensor") from None

    def persistent_load(self, pid: object) -> object:
        """Return what a tensor's numbers are known by."""
        match pid:
            case ("storage", str(dtype), str(key), *_):
                return self.storages.setdefault(key, _Storage(key, dtype))
        raise _RefusedError(f"it refers to {pid!r}")


def read_torch(path: Path) -> Tensors:
    """Read the tensors of a checkpoint: a state dictionary, alone or under one of the names `WRAPPERS`.

    Returns:
        Arrays by name, without the prefix that `torch.nn.DataParallel` adds.

    Raises:
        WeightsFileError: The file cannot be read, is no checkpoint, or holds other things than tensors, such as a
            whole pickled network.
    """
    content = read_file(path)
    try:
        saved, read = _read_zip(content) if zipfile.is_zipfile(io.BytesIO(content)) else _read_legacy(content)
        return {
            name.removeprefix("module."): _array(tensor, read)
            for name, tensor in _state(saved).items()
            if isinstance(name, str) and isinstance(tensor, _Tensor)
        }
    except _RefusedError as error:
        raise WeightsFileError(
            f"{path}: expected a dictionary of tensors, as torch.save(model.state_dict(), ...) writes it, but {error}"
        ) from error
    except Exception as error:  # damaged pickles raise nearly anything
        raise WeightsFileError(f"{path}: expected a checkpoint of PyTorch: {error!r}") from error


def _read_zip(content: bytes) -> tuple[object, Read]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
    folder = pickled.removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise ValueError("big-endian numbers")
    saved = _Reader(io.BytesIO(archive.read(pickled))).load()
    return saved, lambda storage: archive.read(f"{folder}data/{storage.key}")


def _read_legacy(content: bytes) -> tuple[object, Read]:
    file = io.BytesIO(content)
    magic, protocol, system = (_Reader(file).load() for _ in range(3))
    if (magic, protocol, system["little_endian"]) != (LEGACY_MAGIC, LEGACY_PROTOCOL, True):
        raise ValueError("another format")
    reader = _Reader(file)
    saved = reader.load()
    numbers = {key: _next_numbers(file, reader.storages[key].dtype) for key in _Reader(file).load()}
    return saved, lambda storage: numbers[storage.key]


def _next_numbers(file: BinaryIO, dtype: str) -> bytes:
    count = int.from_bytes(file.read(COUNT_BYTES), "little")
    return file.read(count * (2 if dtype == "bfloat16" else np.dtype(dtype).itemsize))


def _state(saved: object) -> Mapping[Any, object]:
    """Return the dictionary that holds tensors."""
    if isinstance(saved, dict):
        if any(isinstance(value, _Tensor) for value in saved.values()):
            return saved
        for name in WRAPPERS:
            if name in saved:
                return _state(saved[name])
    raise _RefusedError("it holds no tensors")


def _array(tensor: _Tensor, read: Read) -> Array:
    values = to_array(read(tensor.storage), tensor.storage.dtype)
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape:
        return np.empty(tensor.shape, values.dtype)
    if last >= len(values) or math.prod(tensor.shape) > len(values):
        raise ValueError(f"a tensor of the shape {tensor.shape}, up to number {last}, of {len(values)} numbers")
    steps = [stride * values.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps).copy()
