"""Base class and number types of the configuration models."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

Positive: TypeAlias = Annotated[float, Field(gt=0)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
Count: TypeAlias = Annotated[int, Field(ge=1)]
Sha256: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def find_nearest(word: str, words: Sequence[str]) -> str:
    """Return the first of `words` that begins as `word` does or, if none does, the one that is spelt most like it."""
    longer = [name for name in words if name.startswith(word)]
    return longer[0] if longer else difflib.get_close_matches(word, words, n=1, cutoff=0)[0]


def expecting(description: str) -> WrapValidator:
    """Return a validator for values of several types, whose one message says what is accepted.

    Pydantic has a message for each type, and names it as Python does.
    """

    def validate(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            raise ValueError(f"expected {description}, received {value}") from error

    return WrapValidator(validate)


def reject_unknown_keys(section: object, allowed: Iterable[str]) -> object:
    """Return a section unchanged if all its keys are allowed.

    Raises:
        ValueError: A key is not allowed; the message names the nearest allowed key.
    """
    if not isinstance(section, dict):
        return section
    allowed = list(allowed)
    for key in section:
        if key not in allowed:
            raise ValueError(f"unknown key '{key}'; the nearest known key is '{find_nearest(str(key), allowed)}'")
    return section


class ConfigBase(BaseModel):
    """A section of a configuration: immutable, and without unknown keys."""

    model_config = ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _allow_only_own_fields(cls, section: object) -> object:
        return reject_unknown_keys(section, cls.model_fields)
