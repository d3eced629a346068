"""Read tensors from JSON: TensorFlow Serving's row format (`instances`) and columnar format (`inputs`).

Rules and messages are those of tensorflow_serving/util/json_tensor.cc. Well-formed values are converted as whole lists.
A value that fails there is read again element by element, in upstream's order, to find the error to report.
"""

import base64
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np

from model_server.errors import InvalidArgumentError, ServingError, UnimplementedError
from model_server.rest.rapidjson_compat import Json, format_value
from model_server.servable import Array
from tfs_api.encodings import data_type_name
from tfs_api.protos import types_pb2

InputTypes: TypeAlias = Mapping[str, int]
"""DataType numbers by input name."""


class Format(Enum):
    """Layout of the tensors; the value is the key in the request."""

    ROW = "instances"
    COLUMNAR = "inputs"


@dataclass(frozen=True, slots=True)
class _Type:
    """JSON values that are valid elements of a DataType."""

    dtype: str
    accepts: frozenset[type]
    low: int = 0
    high: int = 0
    """Range of integers, both ends included. Smaller types than int32 wrap around within its range."""


_INTEGER, _NUMBER = frozenset({int}), frozenset({int, float})
_INT32 = (-(2**31), 2**31 - 1)
_TYPES = {
    types_pb2.DT_FLOAT: _Type("float32", _NUMBER),
    types_pb2.DT_DOUBLE: _Type("float64", _NUMBER),
    types_pb2.DT_BOOL: _Type("bool", frozenset({bool})),
    types_pb2.DT_STRING: _Type("object", frozenset({str, dict})),
    types_pb2.DT_INT8: _Type("int8", _INTEGER, *_INT32),
    types_pb2.DT_UINT8: _Type("uint8", _INTEGER, *_INT32),
    types_pb2.DT_INT16: _Type("int16", _INTEGER, *_INT32),
    types_pb2.DT_INT32: _Type("int32", _INTEGER, *_INT32),
    types_pb2.DT_UINT32: _Type("uint32", _INTEGER, 0, 2**32 - 1),
    types_pb2.DT_INT64: _Type("int64", _INTEGER, -(2**63), 2**63 - 1),
    types_pb2.DT_UINT64: _Type("uint64", _INTEGER, 0, 2**64 - 1),
}

_BASE64 = re.compile(r"([A-Za-z0-9+/]*)(={0,2})")


def read_signature_name(document: Json) -> str:
    """Return the `signature_name` of a request; empty if it does not have one.

    Raises:
        InvalidArgumentError: The document is not an object, or the name is not a string.
    """
    if not isinstance(document, dict):
        raise InvalidArgumentError(f"JSON Value: {format_value(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise InvalidArgumentError(
            f"JSON Value: {format_value(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def read_inputs(document: dict[str, Json], types: InputTypes) -> tuple[Format, dict[str, Array]]:
    """Read the tensors of a predict request.

    Raises:
        ServingError: They are in neither format, or do not match the names and types of the inputs.
    """
    if "instances" in document and "inputs" in document:
        raise InvalidArgumentError(
            f"JSON Value: {format_value(document)} "
            "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
        )
    if "instances" in document:
        return Format.ROW, _read_rows(document, types)
    if "inputs" in document:
        return Format.COLUMNAR, _read_columns(document["inputs"], types)
    raise InvalidArgumentError("Missing 'inputs' or 'instances' key")


def _read_rows(document: dict[str, Json], types: InputTypes) -> dict[str, Array]:
    rows = document["instances"]
    if not isinstance(rows, list):
        raise InvalidArgumentError(f"JSON Value: {format_value(document)} Expecting 'instances' to be an list/array")
    if not rows:
        raise InvalidArgumentError(f"JSON Value: {format_value(document)} No values in 'instances' array")
    if all(_is_object(row) and row.keys() == types.keys() for row in rows):
        columns = {name: [row[name] for row in rows] for name in types}
    elif len(types) == 1 and not any(map(_is_object, rows)):
        columns = dict.fromkeys(types, rows)
    else:
        columns = {}
    arrays = {name: _array(name, column, types[name]) for name, column in columns.items()}
    if not arrays or any(array is None for array in arrays.values()):
        _raise_for_rows(rows, types)
    return {name: array for name, array in arrays.items() if array is not None}


def _read_columns(inputs: Json, types: InputTypes) -> dict[str, Array]:
    if not _is_object(inputs):
        if len(types) > 1:
            raise InvalidArgumentError(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        inputs = dict.fromkeys(types, inputs)
    arrays = {}
    for name, data_type in types.items():
        if name not in inputs:
            raise InvalidArgumentError(f"Missing named input: {name} in 'inputs' object.")
        array = _array(name, inputs[name], data_type)
        if array is None:
            _raise_for_item(inputs[name], 0, _shape(inputs[name]), data_type)
            raise InvalidArgumentError(f"tensor parsing error: {name}")
        arrays[name] = array
    return arrays


def _array(name: str, value: Json, data_type: int) -> Array | None:
    """Convert nested lists to an array; return None if they are not a valid tensor."""
    kind = _TYPES.get(data_type)
    shape = _shape(value)
    elements = [value]
    for size in shape:
        if not all(isinstance(item, list) and len(item) == size for item in elements):
            return None
        elements = list(itertools.chain.from_iterable(elements))
    if kind is None or not set(map(type, elements)) <= kind.accepts:
        return None
    try:
        flat = _flat_array(elements, kind)
    except ServingError:
        return None
    try:
        return None if flat is None else flat.reshape(shape)
    except ValueError as error:  # more dimensions than numpy supports
        raise InvalidArgumentError(f"tensor parsing error: {name}") from error


def _flat_array(elements: list[Json], kind: _Type) -> Array | None:
    if dict in kind.accepts:
        array = np.empty(len(elements), object)
        array[:] = [string_bytes(element) for element in elements]
        return array
    if kind.accepts is _INTEGER:
        if elements and not (kind.low <= min(elements) and max(elements) <= kind.high):
            return None
        return np.array(elements, kind.dtype if kind.high > _INT32[1] else np.int64).astype(kind.dtype)
    with np.errstate(over="ignore"):  # out of range becomes infinity
        return np.array(elements, kind.dtype if kind.dtype == "bool" else np.float64).astype(kind.dtype)


def _shape(value: Json) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _is_object(value: Json) -> bool:
    """Return whether a value is an object other than base64-encoded bytes, which count as a plain value."""
    return isinstance(value, dict) and not is_base64(value)


def is_base64(value: dict[str, Json]) -> bool:
    """Return whether an object represents bytes: `{"b64": "..."}`."""
    return len(value) == 1 and isinstance(value.get("b64"), str)


def string_bytes(value: Json) -> bytes:
    """Return the bytes of a string, or of an object that represents bytes.

    Raises:
        InvalidArgumentError: The object does not represent bytes.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if not is_base64(value):
        raise InvalidArgumentError(f"JSON Value: {format_value(value)} not formatted correctly for base64 data")
    match = _BASE64.fullmatch("".join(value["b64"].split()))
    if match is None or len(match[1]) % 4 == 1 or (match[2] and (len(match[1]) + len(match[2])) % 4):
        raise InvalidArgumentError("Unable to base64 decode")
    return base64.b64decode(match[1] + "=" * (-len(match[1]) % 4))


def _raise_for_rows(rows: list[Json], types: InputTypes) -> None:
    """Find the first error in rows that are not valid tensors, and raise it."""
    are_objects = _is_object(rows[0])
    if not are_objects and len(types) > 1:
        raise InvalidArgumentError(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    shapes: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if _is_object(row) != are_objects:
            expected, got = ("object", "list") if are_objects else ("value/list", "object")
            raise InvalidArgumentError(f"Expecting {expected} but got {got} at item {index} of input list")
        for name, value in row.items() if are_objects else zip(types, [row], strict=True):
            try:
                _check_item(name, value, types, shapes)
            except ServingError as error:
                key = f" key: {name}" if are_objects else ""
                raise InvalidArgumentError(
                    f"Failed to process element: {index}{key} of 'instances' list. Error: {error}"
                ) from error
        if are_objects and len(row) != len(types):
            raise InvalidArgumentError(
                f"Failed to process element: {index} of 'instances' list. JSON object: {format_value(row)} "
                f"keys must be equal to: {','.join(sorted(types))}"
            )
    raise InvalidArgumentError(f"tensor parsing error: {','.join(types)}")


def _check_item(name: str, value: Json, types: InputTypes, shapes: dict[str, list[int]]) -> None:
    if name not in types:
        raise InvalidArgumentError(f"JSON object: does not have named input: {name}")
    shape = _shape(value)
    _raise_for_item(value, 0, shape, types[name])
    expected = shapes.setdefault(name, shape)
    if math.prod(shape) != math.prod(expected):
        raise InvalidArgumentError(f"Expecting tensor size: {math.prod(expected)} but got: {math.prod(shape)}")
    if shape != expected:
        raise InvalidArgumentError(f"Expecting shape {_format_shape(expected)} but got: {_format_shape(shape)}")


def _format_shape(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _raise_for_item(value: Json, level: int, shape: Sequence[int], data_type: int) -> None:
    """Raise the first error in nested lists that should have this shape and type, if there is one."""
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise InvalidArgumentError(
                f"JSON Value: {format_value(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        _check_element(value, data_type)
        return
    if level >= rank:
        raise InvalidArgumentError(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise InvalidArgumentError(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _raise_for_item(item, level + 1, shape, data_type)


def _check_element(value: Json, data_type: int) -> None:
    kind = _TYPES.get(data_type)
    if kind is None and not isinstance(value, dict):
        raise UnimplementedError(f"Conversion of JSON Value: {format_value(value)} to type: {_type_name(data_type)}")
    if kind is None or type(value) not in kind.accepts or _flat_array([value], kind) is None:
        raise InvalidArgumentError(
            f"JSON Value: {format_value(value)} Type: {json_type(value)} "
            f"is not of expected type: {_type_name(data_type)}"
        )


def _type_name(data_type: int) -> str:
    return data_type_name(data_type).removeprefix("DT_").lower()


def json_type(value: Json) -> str:
    """Return RapidJSON's name for the type of a value."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names: dict[type[Any], str] = {str: "String", list: "Array", dict: "Object"}
    return names.get(type(value), "Number")
