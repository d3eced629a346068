"""Pickles that would take more time, memory or stack than they are long are refused before they are executed."""

import io
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest

from train.weights.pickle_opcodes import MAX_KEY_DEPTH, ForbiddenError, check_opcodes
from train.weights.torch_pickle import SafeUnpickler

ROOT = Path(__file__).parents[4]
TIMEOUT_S = 60
EMPTY_TUPLE, TUPLE_OF_1, TUPLE_OF_2, DUP, MARK, NONE, FROZENSET = b")", b"\x85", b"\x86", b"2", b"(", b"N", b"\x91"
SHARED = EMPTY_TUPLE + 60 * (DUP + TUPLE_OF_2)
"""A tuple of twice the same tuple, and so on: 2 ** 60 objects to hash."""
DEEP = EMPTY_TUPLE + 200_000 * TUPLE_OF_1
TOO_DEEP = EMPTY_TUPLE + (MAX_KEY_DEPTH + 1) * TUPLE_OF_1
"""Opcodes that leave one object on the stack."""


def shared_by_memo() -> bytes:
    pairs = b"".join(b"q%c0h%ch%c\x86" % (index, index, index) for index in range(60))
    return EMPTY_TUPLE + pairs


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b"}" + SHARED + NONE + b"s", "share tuples so that hashing them would take too long"),
        (b"}" + shared_by_memo() + NONE + b"s", "share tuples"),
        (b"}" + MARK + SHARED + NONE + b"u", "share tuples"),
        (MARK + SHARED + NONE + b"d", "share tuples"),
        (b"\x8f" + MARK + SHARED + b"\x90", "share tuples"),
        (MARK + SHARED + FROZENSET, "share tuples"),
        (b"}(ctorch._utils\n_rebuild_parameter\n" + SHARED + TUPLE_OF_1 + b"RNu", "share tuples"),
        (b"}" + DEEP + NONE + b"s", f"nests more than {MAX_KEY_DEPTH} tuples in each other"),
        (b"}" + TOO_DEEP + MARK + b"u" + NONE + b"s", f"nests more than {MAX_KEY_DEPTH} tuples"),
    ],
    ids=["item", "memo", "items", "dictionary", "set", "frozen set", "argument that is returned", "deep", "no items"],
)
def test_keys_that_take_too_long_or_too_much_stack_to_hash_are_refused(opcodes: bytes, message: str):
    with pytest.raises(ForbiddenError, match=message):
        check_opcodes(io.BytesIO(b"\x80\x04" + opcodes + b"."))


def test_deep_tuples_in_a_checkpoint_end_with_a_message_instead_of_the_process(tmp_path: Path):
    path = tmp_path / "weights.pth"
    header = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    path.write_bytes(header + b"\x80\x02}" + DEEP + NONE + b"s.")
    code = "import sys; from pathlib import Path; from train.weights.torch_file import read_torch as read"

    result = subprocess.run(
        [sys.executable, "-c", f"{code}; read(Path(sys.argv[1]))", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert result.returncode == 1
    assert "WeightsFileError" in result.stderr
    assert "nests more than" in result.stderr


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_ordinary_keys_and_nested_tuples_are_read(protocol: int):
    shape = (64, 3, 7, 7)
    classes = tuple(f"class {index}" for index in range(20_000))
    value = {
        "shapes": [shape] * 1000,
        "losses": {(epoch, 1): 0.1 for epoch in range(1000)},
        "options": {shape: classes, classes: shape},
        "nested": (((((),),),), [classes] * 100),
    }

    assert SafeUnpickler(io.BytesIO(pickle.dumps(value, protocol))).load() == value


def test_the_pairs_of_an_ordered_dictionary_of_python_2_are_read_once():
    pairs = b"]q\x00(](U\x01aK\x01e](NK\x02ee"
    calls = b"ccollections\nOrderedDict\nq\x01h\x00\x85R" + b"h\x01h\x00\x85R"
    pickled = b"\x80\x02" + pairs + b"0" + calls + b"\x86."
    first, second = SafeUnpickler(io.BytesIO(pickled)).load()

    assert (first, second) == ({"a": 1}, {})


def test_a_stack_that_is_too_short_is_not_a_pickle():
    with pytest.raises(IndexError):
        check_opcodes(io.BytesIO(b"\x80\x02}Ns."))


def test_the_checked_pickle_is_read_from_where_it_starts():
    file = io.BytesIO(b"before" + pickle.dumps(OrderedDict(a=1), 2))
    file.seek(6)

    check_opcodes(file)

    assert file.tell() == 6
