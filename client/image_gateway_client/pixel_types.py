"""Name the types of pixels, and say how those that cannot be sent are converted."""

import re
import struct
from collections.abc import Sequence

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""PNG colour types by number of channels: gray, gray with alpha, RGB, RGB with alpha."""
UINT8 = "uint8"
BYTE_ORDERS = "@=<>!|"
NAMES = {"?": "bool", "e": "float16", "f": "float32", "d": "float64", "g": "longdouble", "Zf": "complex64"}
NAMES |= {"Zd": "complex128", "O": "object"}
INTEGERS = frozenset("bBhHiIlLqQ")
ARRAY_INTERFACE = re.compile(r"([biuf])(\d+)")
KINDS = {"b": "bool", "i": "int", "u": "uint", "f": "float"}
CONVERSIONS = {
    "bool": "255 * array.astype('uint8').",
    "uint16": "(array // 257).astype('uint8') if they go from 0 to 65535.",
}
CONVERT_INTEGERS = "array.astype('uint8') if they go from 0 to 255."
CONVERT_FLOATS = f"(array * 255).astype('uint8') if they go from 0 to 1, {CONVERT_INTEGERS}"
PILLOW_CONVERSIONS = {
    "F": "image.point(lambda value: value * 255).convert('L') if they go to 1, image.convert('L') if to 255.",
    "I": "image.point(lambda value: value / 257).convert('L') if they go to 65535, image.convert('L') if to 255.",
}


def name_type(code: str) -> str:
    """Return the name that NumPy gives to a type, such as float64.

    Args:
        code: The type as the buffer protocol writes it (a format of `struct`, as `d`) or `__array_interface__` (`<f8`).
    """
    code = code.lstrip(BYTE_ORDERS)
    if match := ARRAY_INTERFACE.fullmatch(code):
        kind, size = KINDS[match[1]], int(match[2])
        return kind if kind == "bool" else f"{kind}{8 * size}"
    if code in INTEGERS:
        return f"{'u' if code.isupper() else ''}int{8 * struct.calcsize(code)}"
    return NAMES.get(code, "another type")


def describe_refusal(kind: str, shape: Sequence[int] | None = None) -> str:
    """Return why an array is refused, and what to do.

    Args:
        kind: The name of its type.
        shape: Its shape, if it is known.
    """
    match shape:
        case _ if kind != UINT8:
            conversion = CONVERT_FLOATS if kind.startswith("float") else CONVERSIONS.get(kind, CONVERT_INTEGERS)
            advice = f" Convert them: {conversion}"
        case (channels, _, _) if channels in COLOUR_TYPES:
            advice = " Put the channels last: array.transpose(1, 2, 0)."
        case (_, _, _, channels) if channels in COLOUR_TYPES:
            advice = " Send its images one by one: list(array)."
        case _:
            advice = ""
    return f"pixels are uint8[H, W] or uint8[H, W, 1 to 4], not {kind}{'' if shape is None else list(shape)}.{advice}"


def describe_pillow_refusal(mode: str) -> str:
    """Return why a picture of Pillow is refused, and what to do.

    Args:
        mode: Its mode, F for 32-bit floating-point numbers or I for 32-bit integers.
    """
    return f"pixels of a picture have 8 or 16 bits, not mode {mode}. Convert them: {PILLOW_CONVERSIONS[mode]}"
