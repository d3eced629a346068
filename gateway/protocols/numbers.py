"""Tensors as nested lists of JSON numbers, read piece by piece: as objects of Python they take far more memory."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway.deadline import Deadline
from gateway.errors import BadRequestError
from gateway.model_client.protocol import Array

PIECE_BYTES = 64 * 1024
MAX_RANK = 8
"""More than any image has."""
WHITESPACE = b" \t\n\r"
DIGITS = b"-+.0123456789eE"
NUMBERS = re.compile(rb"[-+.0-9eE,\s\[\]]*+")
WITHOUT_BRACKETS = bytes.maketrans(b"[]", b"  ")
OUTLINE = bytes.maketrans(DIGITS, b"0" * len(DIGITS))


@dataclass(frozen=True, slots=True, eq=False)
class Numbers:
    """A list of numbers, nested or not, that stays text until its element type is known.

    Attributes:
        text: The list with its brackets, of the characters of `NUMBERS` only.
        shape: Length of each dimension.
    """

    text: memoryview
    shape: tuple[int, ...]

    def to_array(self, dtype: str, *, deadline: Deadline) -> Array:
        """Return the numbers, of any shape that has as many elements.

        Args:
            dtype: Element type, such as `uint8` or `float32`.
            deadline: Time limit on the request.

        Returns:
            One dimension, in row-major order.

        Raises:
            BadRequestError: A number is not valid JSON, not finite or not in the range of the type.
            DeadlineExceededError: The deadline has passed.
        """
        array = np.empty(math.prod(self.shape), dtype)
        position = 0
        for piece in self._pieces():
            deadline.remaining_s()
            values = _parse(piece)
            if position + len(values) > array.size:
                raise _not_numbers()
            array[position : position + len(values)] = _cast(values, array.dtype)
            position += len(values)
        if position < array.size:
            raise _not_numbers()
        return array

    def _pieces(self) -> Iterator[bytes]:
        """Yield the text in pieces that end at a comma."""
        start = 0
        while start < len(self.text):
            piece = bytes(self.text[start : start + PIECE_BYTES])
            end = len(piece)
            if start + end < len(self.text):
                end = piece.rfind(b",")
                if end < 0:
                    raise _not_numbers()
            yield piece[:end]
            start += end + 1


def read_numbers(value: object) -> Numbers | None:
    """Return a list of JSON numbers with its shape; None if the value is not such a list, nested regularly.

    Args:
        value: What `parse_json_object` returned with `make_numbers=memoryview`.
    """
    if isinstance(value, list) and value:
        text = json.dumps(value, default=lambda _: "", skipkeys=True).encode()  # what is not JSON here is no number
        if not NUMBERS.fullmatch(text):
            return None
        value = memoryview(text)
    if not isinstance(value, memoryview):
        return None
    shape = _shape_of(_skeleton(value))
    return None if shape is None else Numbers(value, shape)


def _skeleton(text: memoryview) -> bytearray:
    """Return the brackets and commas alone."""
    skeleton = bytearray()
    for start in range(0, len(text), PIECE_BYTES):
        skeleton += bytes(text[start : start + PIECE_BYTES]).translate(None, DIGITS + WHITESPACE)
    return skeleton


def _shape_of(skeleton: bytearray) -> tuple[int, ...] | None:
    """Return the shape of a nested list by its brackets and commas; None if its rows differ in length or depth.

    From the innermost list outwards, the first list of each depth is one that repeats its first item. An empty list
    counts as one with one number.
    """
    beginning = skeleton[: MAX_RANK + 1]
    rank = len(beginning) - len(beginning.lstrip(b"["))
    if not 0 < rank <= MAX_RANK:
        return None
    view = memoryview(skeleton)  # its slices are no copies
    shape: list[int] = []
    item_length = 0  # a number has neither brackets nor commas
    for depth in range(1, rank + 1):
        start = rank - depth + 1
        close = skeleton.find(b"]" * depth)
        if close < 0:
            return None
        end = close + depth - 1
        items, period = view[start:end], item_length + 1
        is_list = (len(items) + 1) % period == 0 and bytes(items[item_length:period]) in {b"", b","}
        if not is_list or items[:-period] != items[period:]:
            return None
        shape.insert(0, (len(items) + 1) // period)
        item_length = len(items) + 2
    return tuple(shape) if item_length == len(skeleton) else None


def _parse(piece: bytes) -> list[Any]:
    """Return the numbers in a piece of a list, between commas."""
    if _has_number_beside_list(piece):
        raise _not_numbers()
    try:
        values: list[Any] = json.loads(b"[%b]" % piece.translate(WITHOUT_BRACKETS))
    except ValueError as error:
        raise _not_numbers() from error
    return values


def _has_number_beside_list(piece: bytes) -> bool:
    """Return whether a number stands directly behind or before a list, where JSON has a comma."""
    outline = np.frombuffer(piece.translate(OUTLINE, WHITESPACE), np.uint8)
    is_number = outline == ord("0")
    is_behind = is_number[1:] & (outline[:-1] == ord("]"))
    is_before = is_number[:-1] & (outline[1:] == ord("["))
    return bool((is_behind | is_before).any())


def _cast(values: list[Any], dtype: "np.dtype[Any]") -> Array:
    try:
        numbers = np.fromiter(values, np.float64, len(values))
    except OverflowError:
        raise _out_of_range(dtype) from None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            array = numbers.astype(dtype)
        is_valid = np.isfinite(array).all()
    else:
        limits = np.iinfo(dtype)
        is_valid = ((numbers >= limits.min) & (numbers <= limits.max) & (numbers == np.rint(numbers))).all()
        array = numbers.astype(dtype) if is_valid else numbers
    if not is_valid:
        raise _out_of_range(dtype)
    return array


def _out_of_range(dtype: "np.dtype[Any]") -> BadRequestError:
    if dtype.kind == "f":
        return BadRequestError(f"A number of the tensor is too large for {dtype.name}. Send finite numbers.")
    limits = np.iinfo(dtype)
    return BadRequestError(
        f"A number of the tensor is not a whole number from {limits.min} to {limits.max}, as {dtype.name} is."
    )


def _not_numbers() -> BadRequestError:
    return BadRequestError("The tensor is not a list of JSON numbers, separated by commas.")
