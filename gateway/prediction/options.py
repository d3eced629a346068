"""The options of a question: what they are called, what they may be, and where they stand."""

import difflib
import re
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from gateway.errors import BadRequestError

NAMES = ("top_k", "threshold", "explain")
COUNT = re.compile(r"[0-9]{1,9}")
FRACTION = re.compile(r"[0-9]*\.?[0-9]+(?:[eE]-?[0-9]{1,3})?")


Explain: TypeAlias = Literal["image", "raw"]
EXPLAIN: Mapping[object, Explain | None] = {"true": "image", "raw": "raw", "false": None}
"""What `explain` may be."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be answered about each image.

    Attributes:
        top_k: How many classes to rank, at least 1; more than there are gives all.
        threshold: From which score on, 0..1, a class is told; None for the card's own, and no limit on the ranking.
        explain: Whether to show where the model looked, as a picture or as raw numbers; None for not at all.
    """

    top_k: int
    threshold: float | None = None
    explain: Explain | None = None


def read_options(query: Mapping[str, Any], fields: Mapping[str, Any], *, default_top_k: int) -> Options:
    """Read the options; the query counts before the fields of the body. What is empty or null counts as absent.

    Raises:
        BadRequestError: a value that cannot be used.
    """
    given = {name: query.get(name, fields.get(name)) for name in NAMES}
    told = {name: value for name, value in given.items() if value is not None and value != ""}
    return Options(
        top_k=_top_k(told["top_k"]) if "top_k" in told else default_top_k,
        threshold=_threshold(told["threshold"]) if "threshold" in told else None,
        explain=_explain(told["explain"]) if "explain" in told else None,
    )


def refuse_unknown(names: Collection[str], known: Collection[str], what: str) -> None:
    """Refuse names that mean nothing here, since what is misspelt would otherwise be left out in silence.

    Raises:
        BadRequestError: one of them is not known.
    """
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]!r}? " if near else ""
            raise BadRequestError(f"There is no {what} {reprlib.repr(name)}. {hint}Known are: {', '.join(known)}.")


def _top_k(value: object) -> int:
    if isinstance(value, str) and COUNT.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadRequestError(f"top_k must be a whole number of at least 1, not {reprlib.repr(value)}.")
    return value


def _threshold(value: object) -> float:
    if isinstance(value, str) and FRACTION.fullmatch(value):
        value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise BadRequestError(f"threshold must be a number from 0 to 1, not {reprlib.repr(value)}.")
    return float(value)


def _explain(value: object) -> Explain | None:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, str) or value not in EXPLAIN:
        raise BadRequestError(f"explain must be true, false or raw, not {reprlib.repr(value)}.")
    return EXPLAIN[value]
