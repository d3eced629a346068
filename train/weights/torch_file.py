"""Read PyTorch checkpoints without PyTorch, and without running code from them.

A checkpoint is a pickle, which can call any function while it is loaded. This reader allows only what a dictionary of
tensors consists of, and refuses the file if it names anything else. It reads the zip format that `torch.save` has
written since 1.6 and the earlier one (torch/serialization.py), both in little-endian order.
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

from train.weights.tensors import Array, Tensors, WeightsFileError, read_file, to_array

ZIP_MAGIC = b"PK\x03\x04"
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
OTHER_IMPORTS: Mapping[str, str] = {
    ".onnx": "; of ONNX files, only those of SqueezeNet 1.1 are imported, by python -m train squeezenet",
    ".keras": "; import it with python -m train import-keras",
    ".h5": "; import it with python -m train import-keras",
}
"""What to do with files of other formats, by the end of their name."""
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
"""Keys under which training programs store the state dictionary."""

ReadStorage = Callable[["_Storage"], bytes]


class _ForbiddenError(pickle.UnpicklingError):
    """The pickle contains something that is not allowed."""


class _TruncatedError(Exception):
    """The file ends before its numbers do."""


class _Storage(NamedTuple):
    """A flat array of numbers in the file. As a tuple, unlike a dataclass, it cannot be modified by the pickle."""

    key: str
    dtype: str


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides count numbers, not bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: object, offset: object, shape: object, strides: object, *_: object) -> _Tensor:
    """Stand in for `torch._utils._rebuild_tensor_v2`."""
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise _ForbiddenError("it contains a tensor without a storage or a shape")
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise _ForbiddenError("it contains a tensor with an invalid shape")
    return _Tensor(storage, int(numbers[0]), shape, strides)


def _rebuild_parameter(tensor: object, *_: object) -> object:
    """Stand in for `torch._utils._rebuild_parameter`."""
    return tensor


ALLOWED: Mapping[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
} | {("torch", name): dtype for name, dtype in STORAGES.items()}


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that accepts only the globals in `ALLOWED`.

    Args:
        file: Read from its current position.

    Attributes:
        storages: The storages that the pickle refers to, by key.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module_name: str, global_name: str) -> object:
        """Return the stand-in for a global."""
        try:
            return ALLOWED[module_name, global_name]
        except KeyError:
            raise _ForbiddenError(f"it names {module_name}.{global_name}, which is not part of a tensor") from None

    def persistent_load(self, pid: object) -> object:
        """Return the storage that a tensor refers to."""
        match pid:
            case ("storage", str(dtype), str(key), *_):
                return self.storages.setdefault(key, _Storage(key, dtype))
        raise _ForbiddenError(f"it refers to {pid!r}")


def read_torch(path: Path) -> Tensors:
    """Read the tensors of a checkpoint: a state dictionary, either at the top level or under a key in `WRAPPERS`.

    Returns:
        Arrays by name, without the prefix that `torch.nn.DataParallel` adds.

    Raises:
        WeightsFileError: The file cannot be read, is not a checkpoint, or contains something other than tensors, such
            as a complete pickled network.
    """
    content = read_file(path)
    try:
        saved, read = _read_zip(content) if content.startswith(ZIP_MAGIC) else _read_legacy(content)
        return {
            name.removeprefix("module."): _array(tensor, read)
            for name, tensor in _state_dict(saved).items()
            if isinstance(name, str) and isinstance(tensor, _Tensor)
        }
    except _ForbiddenError as error:
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


def _read_zip(content: bytes) -> tuple[object, ReadStorage]:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise _TruncatedError  # the list of a zip file's entries is at its end
    archive = zipfile.ZipFile(io.BytesIO(content))
    (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
    folder = pickled.removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
        raise _ForbiddenError("its numbers are big-endian")
    saved = _RestrictedUnpickler(io.BytesIO(archive.read(pickled))).load()
    return saved, lambda storage: archive.read(f"{folder}data/{storage.key}")


def _read_legacy(content: bytes) -> tuple[object, ReadStorage]:
    file = io.BytesIO(content)
    magic, protocol, system = (_RestrictedUnpickler(file).load() for _ in range(3))
    if (magic, protocol, system["little_endian"]) != (LEGACY_MAGIC, LEGACY_PROTOCOL, True):
        raise _ForbiddenError("it was written by an unknown version of torch.save")
    reader = _RestrictedUnpickler(file)
    saved = reader.load()
    numbers = {key: _read_numbers(file, reader.storages[key].dtype) for key in _RestrictedUnpickler(file).load()}
    return saved, lambda storage: numbers[storage.key]


def _read_numbers(file: BinaryIO, dtype: str) -> bytes:
    count = int.from_bytes(file.read(COUNT_BYTES), "little")
    size = count * (2 if dtype == "bfloat16" else np.dtype(dtype).itemsize)
    numbers = file.read(size)
    if len(numbers) < size:
        raise _TruncatedError
    return numbers


def _state_dict(saved: object) -> Mapping[Any, object]:
    """Return the dictionary that contains tensors."""
    if isinstance(saved, dict):
        if any(isinstance(value, _Tensor) for value in saved.values()):
            return saved
        for name in WRAPPERS:
            if name in saved:
                return _state_dict(saved[name])
    raise _ForbiddenError("it contains no tensors")


def _array(tensor: _Tensor, read: ReadStorage) -> Array:
    values = to_array(read(tensor.storage), tensor.storage.dtype)
    last = tensor.offset + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape:
        return np.empty(tensor.shape, values.dtype)
    if last >= len(values) or math.prod(tensor.shape) > len(values):
        raise _ForbiddenError(
            f"a tensor of shape {tensor.shape} extends to number {last} of a storage with {len(values)} numbers"
        )
    steps = [stride * values.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps).copy()
