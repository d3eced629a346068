"""Read the pickles of PyTorch checkpoints without running code from them.

A pickle can call any function that it names. Here it gets functions and classes of this module only: dictionaries and
tensors are read, and whatever else stands beside them, such as the options of the training, becomes a `Placeholder`,
which takes everything and does nothing.
"""

import pickle
import reprlib
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple, Self

from train.weights.pickle_opcodes import ForbiddenError, check_opcodes

MAX_GLOBALS = 1000
"""A file that names more functions and classes is refused, since each costs memory."""
MAX_QUOTED_CHARACTERS = 100
MODULE_STATE = {"_parameters", "_buffers", "_modules"}
"""Attributes that every `torch.nn.Module` has."""
STORAGES: Mapping[str, str] = {
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
"""PyTorch's names of storages, and the dtypes of `train.weights.tensors.to_array`."""


class Storage(NamedTuple):
    """A flat array of numbers in the file. As a tuple, unlike a dataclass, it cannot be modified by the pickle."""

    key: str
    dtype: str


class TensorView(NamedTuple):
    """A view of a storage; offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Dictionary(dict[Any, Any]):
    """Stands in for the dictionaries of `collections`; has no attributes.

    Args:
        items: A list of pairs, as Python 2 wrote them, of which those whose key is a string are taken out of the list;
            many dictionaries of one list could fill the memory. Anything else, such as the factory of a defaultdict, is
            ignored.
    """

    __slots__ = ()

    def __init__(self, items: object = (), *_: object) -> None:
        super().__init__()
        if isinstance(items, list):
            self.update({key: value for key, value in items if isinstance(key, str)})
            items.clear()

    def __setstate__(self, _: object) -> None:
        """Ignore attributes, such as the `_metadata` of state dictionaries."""


class Placeholder:
    """Stands in for an object of any class outside this module, and for what any function returns.

    Attributes:
        origin: The full name of the class or function. Each has a subclass of its own.
        is_module: Whether the object is a `torch.nn.Module`, judged by its arguments and attributes; None if it has
            neither.
    """

    __slots__ = ("is_module",)
    origin = ""

    is_module: bool | None

    def __new__(cls, *arguments: object, **_: object) -> Self:
        """Return an object that has not been given attributes."""
        placeholder = super().__new__(cls)
        placeholder.is_module = False if arguments else None  # modules are made without arguments
        return placeholder

    def __init__(self, *_: object, **__: object) -> None: ...

    def __call__(self, *_: object) -> Self:
        """Return itself, whatever the arguments."""
        return self

    def __setstate__(self, state: object) -> None:
        """Forget attributes, after a look at their names."""
        self.is_module = isinstance(state, dict) and state.keys() >= MODULE_STATE

    def __setitem__(self, _: object, __: object) -> None:
        """Ignore an item with a key."""

    def append(self, _: object) -> None:
        """Ignore an item."""

    add = extend = append


class _Function:
    """Stands in for a function of PyTorch; unlike a real function, it has no attributes that the pickle could set."""

    __slots__ = ()

    def __setstate__(self, _: object) -> None:
        raise ForbiddenError("it changes a function")


class _RebuildTensor(_Function):
    """Stands in for `torch._utils._rebuild_tensor_v2`."""

    __slots__ = ()

    def __call__(self, storage: object, offset: object, shape: object, strides: object, *_: object) -> object:
        if isinstance(storage, Placeholder):
            return storage
        if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise ForbiddenError("it contains a tensor without a storage or a shape")
        numbers = (offset, *shape, *strides)
        if len(shape) != len(strides) or not all(isinstance(number, int) and number >= 0 for number in numbers):
            raise ForbiddenError("it contains a tensor with an invalid shape")
        return TensorView(storage, int(numbers[0]), shape, strides)


class _RebuildParameter(_Function):
    """Stands in for `torch._utils._rebuild_parameter`."""

    __slots__ = ()

    def __call__(self, tensor: object, *_: object) -> object:
        return tensor


class _RebuildSubclass(_Function):
    """Stands in for `torch._tensor._rebuild_from_type_v2`, which gives a tensor a class and attributes."""

    __slots__ = ()

    def __call__(self, function: object, _: object, arguments: object, __: object) -> object:
        if isinstance(function, _RebuildTensor | _RebuildParameter) and isinstance(arguments, tuple):
            return function(*arguments)
        return Placeholder()


STAND_INS: Mapping[tuple[str, str], object] = {
    ("collections", "OrderedDict"): Dictionary,
    ("collections", "defaultdict"): Dictionary,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
    ("torch._utils", "_rebuild_parameter_with_state"): _RebuildParameter(),
    ("torch._tensor", "_rebuild_from_type_v2"): _RebuildSubclass(),
} | {("torch", name): dtype for name, dtype in STORAGES.items()}


class SafeUnpickler(pickle.Unpickler):
    """An unpickler that gives the pickle the globals of `STAND_INS`, and placeholders instead of all others.

    Args:
        file: Read from its current position.

    Attributes:
        storages: The storages that the pickle refers to, by key.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")  # of strings that Python 2 wrote
        self._file = file
        self.storages: dict[str, Storage] = {}
        self._placeholders: dict[tuple[str, str], type[Placeholder]] = {}

    def load(self) -> Any:
        """Return the next object of the file.

        Raises:
            ForbiddenError: The pickle contains something that is not allowed.
        """
        check_opcodes(self._file)
        return super().load()

    def find_class(self, module_name: str, global_name: str) -> object:
        """Return what stands in for a global."""
        key = (module_name, global_name)
        if key in STAND_INS:
            return STAND_INS[key]
        if key not in self._placeholders:
            if len(self._placeholders) == MAX_GLOBALS:
                raise ForbiddenError(f"it names more than {MAX_GLOBALS} functions and classes")
            attributes = {"__slots__": (), "origin": f"{module_name}.{global_name}"}
            self._placeholders[key] = type("Placeholder", (Placeholder,), attributes)
        return self._placeholders[key]

    def persistent_load(self, pid: object) -> object:
        """Return the storage that a tensor refers to, or the class of a network in the earlier format."""
        match pid:
            case ("storage", str(dtype), str(key), *_):
                return self.storages.setdefault(key, Storage(key, dtype))
            case ("storage", type(), *_):
                return Placeholder()  # numbers of a type that no classifier is made of, such as complex ones
            case ("module", type() as network, *_):
                return network
        raise ForbiddenError(f"it refers to {reprlib.repr(pid)[:MAX_QUOTED_CHARACTERS]}")  # str could fill the memory
