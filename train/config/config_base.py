"""What every part of a configuration has in common."""

import difflib
from collections.abc import Iterable
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive: TypeAlias = Annotated[float, Field(gt=0)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Sha256: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def refuse_unknown_keys(section: object, known: Iterable[str]) -> object:
    """Give a section back as it is, if all of its keys are known.

    Raises:
        ValueError: One is not; the message names the nearest known one.
    """
    if not isinstance(section, dict):
        return section
    known = list(known)
    for key in section:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0)
            raise ValueError(f"unknown key '{key}'; the nearest known key is '{nearest[0]}'")
    return section


class ConfigBase(BaseModel):
    """A part of the configuration: unchangeable, and nothing in it goes unread."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, section: object) -> object:
        return refuse_unknown_keys(section, cls.model_fields)
