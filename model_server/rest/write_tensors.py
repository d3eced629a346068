"""Write tensors as JSON text: the `predictions` of the row format, the `outputs` of the columnar format.

The rules are those of tensorflow_serving/util/json_tensor.cc.
"""

import base64
import json
import math
import re
from collections.abc import Mapping

import numpy as np

from model_server.errors import InvalidArgumentError
from model_server.rest.read_tensors import Format
from model_server.servable import Array

_BYTES_SUFFIX = "_bytes"
"""String outputs whose names end in this are written in base64."""

_FLOATS = {"float32": (6, 9, 2.0**-126), "float64": (15, 17, 2.0**-1022)}
"""Digits that every decimal number survives, digits that every binary number needs, smallest normal number."""

_INTEGERS = frozenset({"int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"})
_CONSTANTS = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_IS_FLOAT = re.compile(r"[.e]")

_TYPE_NAMES = {"float16": "half"}
"""TensorFlow's names of types for which numpy has another name."""


def write_outputs(layout: Format, outputs: Mapping[str, Array]) -> str:
    """Write the response to predict.

    Args:
        layout: The request's layout.
        outputs: Arrays by name. In the row format, all have the same first dimension.

    Raises:
        InvalidArgumentError: An element type has no JSON form, or the numbers of rows differ.
    """
    if layout is Format.COLUMNAR:
        values = {name: _value(name, array) for name, array in outputs.items()}
        content = next(iter(values.values())) if len(values) == 1 else _object(values, "    ")
        return f'{{\n    "outputs": {content}\n}}'
    _check_rows(outputs)
    rows = {name: _items(name, array) for name, array in outputs.items()}
    if len(rows) == 1:
        content = ", ".join(next(iter(rows.values())))
    else:
        objects = (dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True))
        content = ", ".join(_object(row, "        ") for row in objects)
    return f'{{\n    "predictions": [{content}\n    ]\n}}'


def _check_rows(outputs: Mapping[str, Array]) -> None:
    expected = None
    for name, array in outputs.items():
        if not array.ndim:
            raise InvalidArgumentError(f"Tensor name: {name} has no shape information ")
        expected = len(array) if expected is None else expected
        if len(array) != expected:
            raise InvalidArgumentError(
                f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {expected}"
            )


def _object(members: Mapping[str, str], indent: str) -> str:
    lines = (f"{indent}    {json.dumps(name)}: {text}" for name, text in members.items())
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def _value(name: str, array: Array) -> str:
    items = _items(name, array)
    return "[" + ", ".join(items) + "]" if array.ndim else items[0]


def _items(name: str, array: Array) -> list[str]:
    """Return the text of each item along the first dimension, or of the only element."""
    texts = _elements(name, array.ravel())
    for level in range(array.ndim - 1, 0, -1):
        size = array.shape[level]
        count = math.prod(array.shape[:level])
        texts = ["[" + ", ".join(texts[row * size : (row + 1) * size]) + "]" for row in range(count)]
    return texts


def _elements(name: str, flat: Array) -> list[str]:
    kind = flat.dtype.name
    if kind in _FLOATS:
        return float_texts(flat)
    if kind == "object":
        return [_bytes(item) if name.endswith(_BYTES_SUFFIX) else string_text(item) for item in flat]
    if kind == "bool":
        return ["true" if item else "false" for item in flat]
    if kind in _INTEGERS:
        return list(map(str, flat.tolist()))
    raise InvalidArgumentError(f"Failed to write JSON value for tensor type: {_TYPE_NAMES.get(kind, kind)}")


def float_texts(flat: Array) -> list[str]:
    """Format each number with few digits if they are exact, otherwise with as many as it needs.

    This is SimpleFtoa and SimpleDtoa of absl/strings. Denormal numbers are written as zero, because TensorFlow's
    floating-point settings flush them to zero.
    """
    few, many, smallest = _FLOATS[flat.dtype.name]
    numbers = flat.tolist()
    texts = [f"{number:.{few}g}" for number in numbers]
    with np.errstate(over="ignore"):
        same = np.array([float(text) for text in texts]).astype(flat.dtype) == flat
    for index in np.flatnonzero(~same):
        texts[index] = f"{numbers[index]:.{many}g}"
    for index in np.flatnonzero((flat != 0) & (abs(flat) < smallest)):
        texts[index] = "0.0"
    return [_CONSTANTS.get(text) or (text if _IS_FLOAT.search(text) else f"{text}.0") for text in texts]


def string_text(item: bytes) -> str:
    """Write a byte string as a JSON string; bytes that are not UTF-8 become surrogate escapes."""
    return json.dumps(item.decode("utf-8", "surrogateescape"), ensure_ascii=False)


def _bytes(item: bytes) -> str:
    return f'{{ "b64": "{base64.b64encode(item).decode()}" }}'
