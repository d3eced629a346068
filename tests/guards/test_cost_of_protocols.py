"""Bodies of other protocols are parsed in linear time, with the memory that is reserved for a body."""

import base64
import itertools
import random
from collections.abc import Callable

import pytest

from gateway.capacity import BODY_FACTOR
from gateway.http.json_objects import JsonLimits
from gateway.settings import Settings
from tests.support.protocol_requests import make_protocol_parse
from tests.support.regex_attacks import is_superlinear
from tests.support.traced_memory import peak_bytes
from vision.card import InputSpec

OPTIONS = Settings()
SIZE = 2 * 1024 * 1024
SIDE = 400
NUMBERS = SIDE * SIDE * 3
PARSE = make_protocol_parse(
    InputSpec(height=SIDE, width=SIDE),
    max_bytes=SIZE,
    max_images=OPTIONS.max_images,
    limits=JsonLimits(OPTIONS.max_json_depth, OPTIONS.max_json_values),
)
FILE = base64.b64encode(random.Random(0).randbytes(SIZE // 4 * 3 - 1000))
START = b'{"inputs":[{"name":"image","shape":[1,400,400,3],"datatype":"UINT8","data":'
FILES = b'{"inputs":[{"name":"image","shape":[1],"datatype":"BYTES","data":["'
END = b"}]}"


def fill(piece: bytes, start: bytes = b"", end: bytes = b"") -> Callable[[], bytes]:
    """Return a function that makes a body: a start, a piece again and again, and an end."""
    return lambda: start + piece * ((SIZE - len(start) - len(end)) // len(piece)) + end


def nested(number: bytes) -> bytes:
    pixel = b"[" + b",".join([number] * 3) + b"]"
    row = b"[" + b",".join([pixel] * SIDE) + b"]"
    return b"[[" + b",".join([row] * SIDE) + b"]]"


BODIES: dict[str, tuple[str, Callable[[], bytes], bool]] = {
    "pixels": ("infer", lambda: START + b"[" + b" 9," * (NUMBERS - 1) + b"9]" + END, True),
    "nested pixels": ("infer", lambda: START + nested(b"9") + END, True),
    "a file": ("infer", lambda: FILES + FILE + b'"]}]}', True),
    "rows of pixels": ("predict", lambda: b'{"instances":' + nested(b"9") + b"}", True),
    "a column of pixels": ("predict", lambda: b'{"inputs":{"a":' + nested(b"9") + b"}}", True),
    "a row with a file": ("predict", lambda: b'{"instances":[{"b64":"' + FILE + b'"}]}', True),
    "too many numbers": ("infer", fill(b"1,", START + b"[", b"1]" + END), False),
    "lists": ("infer", fill(b"[1],", START + b"[", b"[1]]" + END), False),
    "opening brackets": ("infer", fill(b"[", START), False),
    "empty lists": ("predict", fill(b"[],", b'{"instances":[', b"[]]}"), False),
    "one number": ("predict", fill(b"1", b'{"instances":[', b"]}"), False),
    "commas": ("predict", fill(b",", b'{"instances":[', b"]}"), False),
    "blanks": ("predict", fill(b" ", b'{"instances":[', b"1]}"), False),
    "short runs of digits": ("predict", fill(b"[" * 1000 + b":", b'{"instances":'), False),
    "strings": ("infer", fill(b'"1",', START + b"[", b'"1"]' + END), False),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_takes_no_more_memory_than_is_reserved(name: str):
    protocol, make, is_accepted = BODIES[name]
    body = make()
    assert SIZE / 2 < len(body) <= SIZE

    peak, result = peak_bytes(lambda: PARSE(protocol, body))

    assert isinstance(result, Exception) != is_accepted, result
    assert peak <= BODY_FACTOR * len(body), f"{peak / len(body):.1f} times"


STARTS = {
    "infer": (b"", START, START + b"[", START + b"[[", FILES, b'{"inputs":[{"name":"', b'{"outputs":[{"name":"'),
    "predict": (b"", b'{"instances":', b'{"instances":[', b'{"instances":[{"b64":"', b'{"inputs":{"a":['),
}
PIECES = (
    b"[",
    b"]",
    b"[]",
    b"[1],",
    b"1",
    b"1,",
    b",",
    b" ",
    b"-",
    b"e",
    b'"',
    b'"a",',
    b"{",
    b"[" * 900 + b"x",
    b"\\",
)
LINEAR_BYTES = 64 * 1024
FAST_S = 0.05


@pytest.mark.parametrize("protocol", STARTS)
def test_a_body_is_parsed_in_linear_time(protocol: str):
    for start, piece in itertools.product(STARTS[protocol], PIECES):
        small, large = (start + piece * (size // len(piece)) for size in (LINEAR_BYTES, 4 * LINEAR_BYTES))

        assert not is_superlinear(
            lambda small=small: PARSE(protocol, small), lambda large=large: PARSE(protocol, large), fast_s=FAST_S
        ), (start, piece)
