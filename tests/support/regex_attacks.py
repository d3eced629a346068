"""Texts that a regular expression may take long to refuse, made of its own alphabet, and how long it takes.

A pattern that backtracks takes a time that grows with the square of the text, or worse. Which text shows it depends on
the pattern: some part of it must match again and again, and what follows must not match.
"""

import functools
import itertools
import re
import time
from collections.abc import Callable, Iterator
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

MAX_PARTS = 32
SIZES = (12, 16, 20, 24, 28, 32, 36, 40, 44, 50, 56, 64, 72, 84, 96, 112, 128, 160, 200, 256, 512, 1024, 2048, 4096)
"""An exponential pattern shows at the small ones, a cubic one at the middle ones, before they take minutes."""
FAST_S = 0.0005
"""Processor time that a linear pattern seldom needs for a text of 4,096 characters; what takes more is compared."""
TOO_SLOW_S = 0.02
"""Time that no linear pattern needs for such a text, however slow the machine is."""
MAX_RATIO = 8
"""Between a text and one four times as long: a linear pattern has 4, a quadratic one 16."""
STRANGERS = "\x00\n!a0 -"


def cpu_s(work: Callable[[], object], *, tries: int = 1) -> float:
    """Return the least processor time of this thread that some work takes."""
    times = []
    for _ in range(tries):
        started_s = time.thread_time()
        work()
        times.append(time.thread_time() - started_s)
    return min(times)


def is_superlinear(small: Callable[[], object], large: Callable[[], object], *, fast_s: float) -> bool:
    """Return whether processing time grows faster than linearly with the length of the text.

    Args:
        small: Work on the text.
        large: Work on the text that is four times as long.
        fast_s: What takes less than this is not compared.
    """
    if cpu_s(large) < fast_s or cpu_s(large, tries=2) < fast_s:
        return False
    return cpu_s(large, tries=3) >= MAX_RATIO * max(cpu_s(small, tries=5), fast_s / MAX_RATIO)


def find_slow_text(pattern: re.Pattern[Any], method: str) -> str | bytes | None:
    """Return the beginning of a text on which a method of a pattern takes more than linear time, or None."""
    for text in _texts(pattern):
        work = functools.partial(_call, pattern, method)
        for size in SIZES:
            seconds = cpu_s(work(text(size)))
            if seconds > TOO_SLOW_S and cpu_s(work(text(size)), tries=3) > TOO_SLOW_S:
                return text(64)
        if seconds > FAST_S and is_superlinear(work(text(SIZES[-1])), work(text(4 * SIZES[-1])), fast_s=FAST_S):
            return text(64)
    return None


def _call(pattern: re.Pattern[Any], method: str, text: str | bytes) -> Callable[[], object]:
    if method in {"sub", "subn"}:
        return lambda: getattr(pattern, method)(text[:0], text)
    if method == "finditer":
        return lambda: list(pattern.finditer(text))
    return lambda: getattr(pattern, method)(text)


def _texts(pattern: re.Pattern[Any]) -> Iterator[Callable[[int], str | bytes]]:
    """Yield functions that return a text of about a size: a start, a repeated part, and an end that may not match."""
    tree = parser.parse(pattern.pattern, pattern.flags)
    beginnings = [_samples(tree[:length])[0] for length in range(1, len(tree) + 1)]
    starts = dict.fromkeys(["", beginnings[-1]])
    samples = [sample for node in _nodes(tree) for sample in _samples(node)]
    parts = [part for part in dict.fromkeys([*beginnings, *samples]) if part][:MAX_PARTS]
    pairs = ["".join(pair) for pair in itertools.permutations(sorted(parts, key=len)[:6], 2)]
    for start, part, end in itertools.product(starts, [*parts, *pairs], ["", _stranger(tree)]):

        def text(size: int, start: str = start, part: str = part, end: str = end) -> str | bytes:
            whole = start + part * max(1, size // len(part)) + end
            return whole if isinstance(pattern.pattern, str) else whole.encode("latin-1", "replace")

        yield text


def _stranger(tree: Any) -> str:
    """Return a character that the pattern does not name, which is likely to end a match."""
    own = set("".join(sample for node in _nodes(tree) for sample in _samples(node)))
    return next(character for character in [*STRANGERS, "\x80"] if character not in own)


def _nodes(tree: Any) -> Iterator[Any]:
    """Yield a tree and all its parts, repetitions as often as they are repeated at least."""
    yield tree
    for code, value in tree:
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, parser.SubPattern):
                yield from _nodes(part)
            elif isinstance(part, list) and part and isinstance(part[0], parser.SubPattern):
                for branch in part:
                    yield from _nodes(branch)
        yield [(code, value)]


def _samples(tree: Any) -> list[str]:
    """Return a few texts that a part of a pattern matches."""
    samples = [""]
    for code, value in tree:
        choices = _choices(code, value)
        samples = [sample + choice for sample, choice in itertools.product(samples, choices)][:6]
    return samples


def _choices(code: Any, value: Any) -> list[str]:
    """Return a few texts that a node matches; anchors, look-around and references have none of their own."""
    if code in {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}:
        least, _, body = value
        return [sample * max(1, least) for sample in _samples(body)] + ([""] if least == 0 else [])
    if code is codes.BRANCH:
        return [sample for branch in value[1] for sample in _samples(branch)[:2]]
    return CHOICES.get(code, lambda _: [""])(value)


def _characters(items: Any) -> list[str]:
    """Return some characters of a set."""
    wanted = re.compile(_set_source(items))
    candidates = [*_edges(items), *"a1 -.;,:=\"\\/%*+'\t\n\x80\xff"]
    return [character for character in dict.fromkeys(candidates) if wanted.fullmatch(character)][:3] or ["a"]


def _edges(items: Any) -> Iterator[str]:
    for code, value in items:
        if code is codes.LITERAL:
            yield chr(value)
        elif code is codes.RANGE:
            yield from map(chr, value)


CATEGORIES = {
    codes.CATEGORY_DIGIT: r"\d",
    codes.CATEGORY_NOT_DIGIT: r"\D",
    codes.CATEGORY_SPACE: r"\s",
    codes.CATEGORY_NOT_SPACE: r"\S",
    codes.CATEGORY_WORD: r"\w",
    codes.CATEGORY_NOT_WORD: r"\W",
}


def _set_source(items: Any) -> str:
    """Return a set of characters as it is written in a pattern."""
    source = ""
    for code, value in items:
        if code is codes.NEGATE:
            source += "^"
        elif code is codes.LITERAL:
            source += re.escape(chr(value))
        elif code is codes.RANGE:
            source += "-".join(re.escape(chr(edge)) for edge in value)
        elif code is codes.CATEGORY:
            source += CATEGORIES[value]
    return f"[{source}]"


CHOICES: dict[Any, Callable[[Any], list[str]]] = {
    codes.LITERAL: lambda value: [chr(value)],
    codes.NOT_LITERAL: lambda value: [next(character for character in "a0" if character != chr(value))],
    codes.ANY: lambda _: ["a", "\\", '"'],
    codes.IN: _characters,
    codes.SUBPATTERN: lambda value: _samples(value[3]),
    codes.ATOMIC_GROUP: _samples,
}
