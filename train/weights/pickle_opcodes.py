"""Check the opcodes of a pickle before the unpickler executes them."""

import pickle
import pickletools
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

MEMO_OPCODES = {"PUT", "BINPUT", "LONG_BINPUT"}
"""Opcodes that keep an object under a number, for which the unpickler allocates a table of twice that size."""
RECALLING_OPCODES = {"GET", "BINGET", "LONG_BINGET"}
NESTING_OPCODES = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "FROZENSET"}
"""Opcodes that make an object whose hash is that of its items."""
CALLING_OPCODES = {"REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST"}
"""Opcodes whose result may be one of the arguments."""
MAX_KEY_DEPTH = 100
"""Python hashes tuples in tuples by recursion, without a limit of its own."""
MAX_HASHED_PER_BYTE = 10
"""Ordinary pickles hash less than one object for each of their bytes."""
UNCOUNTABLE = 1 << 40


class ForbiddenError(pickle.UnpicklingError):
    """The pickle contains something that is not allowed."""


def check_opcodes(file: BinaryIO) -> None:
    """Check that no opcode of a pickle takes more memory, time or stack than its length suggests.

    The unpickler trusts numbers of the memo and lengths of byte strings, so that a few bytes could fill the memory.
    Pickles of Python and of PyTorch number the memo from 0 or 1 on. It also hashes keys of dictionaries and items of
    sets, however deep they are nested.

    Args:
        file: Read from its current position, which does not change.

    Raises:
        ForbiddenError: The pickle takes too much, or has frames in which the unpickler sees other opcodes.
        EOFError: The file ends before the pickle does.
        ValueError: It is not a pickle.
        LookupError: It takes an object from the stack or the memo that is not there.
    """
    start = begin = frame_end = file.tell()
    stack = _Stack()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            number, end = argument if isinstance(argument, int) else 0, file.tell()
            if opcode.name in MEMO_OPCODES and number > begin - start:
                raise ForbiddenError(f"it numbers an object {number}, more than it is long: it would fill the memory")
            if begin < frame_end and (end > frame_end or opcode.name == "FRAME"):
                raise ForbiddenError("the frames of its pickle overlap or divide an opcode")
            if opcode.name == "FRAME":
                frame_end = end + number
            stack.execute(opcode, number)
            if stack.hashed > MAX_HASHED_PER_BYTE * (end - start):
                raise ForbiddenError(
                    "the keys of its dictionaries share tuples so that hashing them would take too long"
                )
            begin = end
    except ValueError as error:
        if not file.read(1):
            raise EOFError from error
        raise
    file.seek(start)


class _Extent(NamedTuple):
    """What hashing an object takes at most.

    Attributes:
        size: Number of objects in it, each as often as it is referenced; at most `UNCOUNTABLE`.
        depth: Number of tuples and frozen sets in each other.
    """

    size: int
    depth: int


LEAF = _Extent(1, 0)
"""Extent of an object without items, or of one that is hashed by identity or not at all."""


class _Stack:
    """The stack and the memo of the unpickler, with the extent of each object instead of the object.

    Attributes:
        hashed: Number of objects that were hashed so far.
    """

    def __init__(self) -> None:
        self.hashed = 0
        self._segments: list[list[_Extent]] = [[]]  # one more for each mark
        self._memo: dict[int, _Extent] = {}

    def execute(self, opcode: pickletools.OpcodeInfo, number: int) -> None:
        """Do to the extents what an opcode, with a number as its argument, does to the objects.

        Raises:
            ForbiddenError: A hashed object is nested too deeply.
            LookupError: An object is missing.
        """
        name = opcode.name
        if name == "MARK":
            self._segments.append([])
        elif name in MEMO_OPCODES:
            self._memo[number] = self._segments[-1][-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._segments[-1][-1]
        elif name in RECALLING_OPCODES:
            self._segments[-1].append(self._memo[number])
        elif name == "POP" and not self._segments[-1]:
            self._segments.pop()
        elif opcode.stack_before:
            operands = self._pop(opcode)
            self._hash(_hashed_operands(name, operands))
            self._segments[-1].extend([_result(name, operands)] * len(opcode.stack_after))
        elif opcode.stack_after:
            self._segments[-1].append(LEAF)

    def _pop(self, opcode: pickletools.OpcodeInfo) -> list[_Extent]:
        """Take the operands of an opcode from the stack, the deepest one first."""
        count = len(opcode.stack_before)
        items: list[_Extent] = []
        if pickletools.markobject in opcode.stack_before:
            items = self._segments.pop()
            count = opcode.stack_before.index(pickletools.markobject)
        segment = self._segments[-1]
        start = len(segment) - count
        if start < 0:
            raise IndexError("the stack is empty")
        items[:0] = segment[start:]
        del segment[start:]
        return items

    def _hash(self, extents: Sequence[_Extent]) -> None:
        for extent in extents:
            if extent.depth > MAX_KEY_DEPTH:
                raise ForbiddenError(f"a key of its dictionaries nests more than {MAX_KEY_DEPTH} tuples in each other")
            self.hashed += extent.size


def _hashed_operands(opcode: str, operands: Sequence[_Extent]) -> Sequence[_Extent]:
    match opcode:
        case "SETITEM" | "SETITEMS":
            return operands[1::2]
        case "DICT":
            return operands[::2]
        case "ADDITEMS":
            return operands[1:]
        case "FROZENSET":
            return operands
    return ()


def _result(opcode: str, operands: Sequence[_Extent]) -> _Extent:
    if opcode in NESTING_OPCODES:
        return _combine(operands, nesting=1)
    if opcode in CALLING_OPCODES:
        return _combine(operands, nesting=0)
    return operands[0] if operands else LEAF  # all others return their first operand, or a leaf


def _combine(extents: Sequence[_Extent], nesting: int) -> _Extent:
    size = 1 + sum(extent.size for extent in extents)
    return _Extent(min(size, UNCOUNTABLE), nesting + max((extent.depth for extent in extents), default=0))
