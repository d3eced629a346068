import itertools
import json
import random

import numpy as np
import pytest

from gateway.deadline import Deadline
from gateway.errors import BadRequestError, DeadlineExceededError
from gateway.protocols.numbers import PIECE_BYTES, read_numbers
from tests.support.traced_memory import peak_bytes


def read(text: bytes, dtype: str = "float32") -> list[float] | None:
    numbers = read_numbers(memoryview(text))
    if numbers is None:
        return None
    return numbers.to_array(dtype, deadline=Deadline.after(60)).reshape(numbers.shape).tolist()


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3), (1, 2, 1, 3), (2, 2, 2, 2, 2)])
@pytest.mark.parametrize("indent", [None, 2])
def test_nested_numbers_are_read_with_their_shape(shape: tuple[int, ...], indent: int | None):
    values = np.arange(np.prod(shape)).reshape(shape).tolist()

    numbers = read_numbers(values)
    assert numbers is not None
    assert numbers.shape == shape
    assert read(json.dumps(values, indent=indent).encode()) == values


@pytest.mark.parametrize(
    "text",
    [
        b"[[1,2],[3]]",
        b"[[1],2]",
        b"[1,[2]]",
        b"[[1]2,3]",
        b"[[1],[2]]]",
        b"[1],[2]",
        b"[[1,2],[3,4]",
        b"1",
        b"]1[",
        b"[" * 9 + b"1" + b"]" * 9,
        b"[" * 100_000,
        b"[1,\x0b2]",
        b"[0, 0,[0",
    ],
)
def test_lists_that_are_not_nested_regularly_are_none(text: bytes):
    assert read_numbers(memoryview(text)) is None


@pytest.mark.parametrize(
    "value",
    [[], [1, "a"], [True], [None], [{}], [[1], {}], [memoryview(b"[1]")], [{memoryview(b"1"): 1}], "[1]", 1, None, {}],
)
def test_what_is_not_a_list_of_numbers_is_none(value: object):
    assert read_numbers(value) is None


@pytest.mark.parametrize(
    "text",
    [
        *(b"[1[2]]", b"[1]2", b"[1 2]", b"[]", b"[,]", b"[1,]", b"[01]", b"[-]", b"[1e]", b"[.5]"),
        *(b"[0,0,]0", b"0[,0,0]", b"[[1],[]\n2]", b"[[1],2 []]", b"[[1,2],[3,]4]", b"[[[1]],[[]2]]", b"[[1,2]3,[,4]]"),
    ],
)
def test_what_is_not_a_number_in_json_is_refused(text: bytes):
    with pytest.raises(BadRequestError, match="not a list of JSON numbers"):
        read(text)


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        (b"[256]", "uint8"),
        (b"[-1]", "uint8"),
        (b"[1.5]", "uint8"),
        (b"[1e400]", "uint8"),
        (b"[1e400]", "float64"),
        (b"[1e39]", "float32"),
        (b"[70000]", "float16"),
        (b"[" + b"9" * 400 + b"]", "float32"),
    ],
)
def test_a_number_out_of_the_range_of_its_type_is_refused(text: bytes, dtype: str):
    with pytest.raises(BadRequestError, match=dtype):
        read(text, dtype)


def test_exactly_what_json_accepts_is_accepted():
    generator = random.Random(0)
    texts = ["[0, 0, 0]", "[[1,2],[3,4]]", "[[[1],[2]],[[3],[4]]]", "[-1.5e3,0.25]", "[[1.0 , 2],\n[3,\t4]]"]
    accepted = 0

    for text in itertools.islice(itertools.cycle(texts), 20_000):
        characters = list(text)
        for _ in range(generator.randint(1, 3)):
            position = generator.randrange(len(characters))
            characters[position : position + generator.randint(0, 1)] = generator.choice([*"[], 01-+.e\n", ""])
        changed = "".join(characters)
        try:
            values = read(changed.encode(), "float64")
        except BadRequestError:
            values = None
        assert values is None or values == json.loads(changed), changed
        assert values is not None or not _is_tensor(changed), changed
        accepted += values is not None

    assert accepted > 1000


def _is_tensor(text: str) -> bool:
    try:
        array = np.array(json.loads(text), np.float64)
    except (ValueError, TypeError, OverflowError):  # not JSON, or rows of different lengths
        return False
    return array.ndim > 0 and array.size > 0 and bool(np.isfinite(array).all())


def test_numbers_are_read_across_pieces():
    values = list(range(PIECE_BYTES // 2))

    assert read(json.dumps(values).encode(), "int32") == values


def test_a_number_without_end_is_refused():
    with pytest.raises(BadRequestError, match="not a list of JSON numbers"):
        read(b"[" + b"1" * 2 * PIECE_BYTES + b"]")


def test_reading_ends_at_the_deadline():
    numbers = read_numbers([1])
    assert numbers is not None

    with pytest.raises(DeadlineExceededError):
        numbers.to_array("uint8", deadline=Deadline.after(0))


def test_reading_takes_little_more_memory_than_the_text_and_the_array():
    text = memoryview(b"[" + b"0," * 2_000_000 + b"0]")

    def work() -> int:
        numbers = read_numbers(text)
        return 0 if numbers is None else numbers.to_array("uint8", deadline=Deadline.after(60)).size

    peak, size = peak_bytes(work)
    assert size == 2_000_001
    assert peak < 2 * len(text)
