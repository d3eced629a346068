"""Read the members of a JSON object, with errors that name the member."""

import sys
from collections.abc import Mapping
from datetime import datetime
from typing import Any


class MemberError(ValueError):
    """A member is missing or not valid; the message says which."""


def get_text(document: Mapping[str, Any], name: str) -> str:
    """Return a text.

    Raises:
        MemberError: It is missing or not a text.
    """
    value = get_member(document, name)
    if not isinstance(value, str):
        raise MemberError(f"{name} is not a text")
    return value


def get_integer(document: Mapping[str, Any], name: str) -> int:
    """Return a whole number.

    Raises:
        MemberError: It is missing or not a whole number.
    """
    value = get_member(document, name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise MemberError(f"{name} is not a whole number")
    return value


def get_number(document: Mapping[str, Any], name: str) -> float:
    """Return a finite number.

    Raises:
        MemberError: It is missing or not a finite number.
    """
    return check_number(get_member(document, name), name)


def check_number(value: object, name: str) -> float:
    """Return a value that is a finite number.

    Raises:
        MemberError: It is not a finite number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise MemberError(f"{name} is not a number")
    return float(value)


def get_time(document: Mapping[str, Any], name: str) -> datetime | None:
    """Return a moment; None if the member is absent or null.

    Raises:
        MemberError: It is not a date and time (RFC 3339).
    """
    if document.get(name) is None:
        return None
    try:
        return datetime.fromisoformat(get_text(document, name))
    except ValueError as error:
        raise MemberError(f"{name} is not a date and time") from error


def get_member(document: Mapping[str, Any], name: str) -> Any:
    """Return a member of any type.

    Raises:
        MemberError: It is missing.
    """
    if not isinstance(document, Mapping):
        raise MemberError("it is not an object")
    if name not in document:
        raise MemberError(f"{name} is missing")
    return document[name]
