"""Cards of foreign models, and those of the versions that are made of them."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from train.errors import TrainError
from train.export.frozen_network import PROBABILITIES, Tensor
from vision.card import Card, CardError, OutputSpec
from vision.model_io import STRING, Shape, UnusableModelError, fit_input, fit_output, to_text

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
NOT_STATED = "not stated"
"""The licence of a model whose card does not say one."""


class ImportModelError(TrainError):
    """A model, card or image cannot be used; the message says which one and why."""


class ModelTensor(NamedTuple):
    """An input or output of a model, a `vision.model_io.Tensor`."""

    dtype: str
    shape: Shape

    @classmethod
    def of(cls, spec: Tensor) -> Self:
        """Return the input or output that a TensorSpec describes."""
        shape = spec.shape
        return cls(spec.dtype.name, None if shape.rank is None else tuple(shape.as_list()))


def read_card(path: Path) -> Card:
    """Read a hand-written card of a foreign model.

    Raises:
        ImportModelError: The card cannot be read, or a value in it is invalid.
    """
    try:
        card = Card.from_json(path.read_bytes())
    except OSError as error:
        raise ImportModelError(f"{path}: {error.strerror}") from error
    except CardError as error:
        raise ImportModelError(f"{path}: {error}") from error
    if not NAME.fullmatch(card.name):
        raise ImportModelError(
            f"{path}: the name '{card.name}' becomes a folder and part of URLs; use letters, digits, `_`, `-` and `.`"
        )
    return card


def served_card(card: Card, provenance: Mapping[str, Any]) -> Card:
    """Return the card of the exported network, which contains the normalisation and the activation.

    Args:
        card: Card of the foreign model.
        provenance: Further members for the provenance.
    """
    plain = dataclasses.replace(card.input, dtype="uint8", layout="NHWC", mean=(), std=())
    return dataclasses.replace(
        card,
        input=plain,
        output=OutputSpec(name=PROBABILITIES),
        provenance={**card.provenance, "licence": card.provenance.get("licence", NOT_STATED), **provenance},
    )


def check_card(model_input: Tensor, model_output: Tensor, card: Card) -> tuple[int, ...]:
    """Compare the tensors of a model with its card, and return the shape in which it takes the pixels of one image.

    Args:
        model_input: The model's input, a `vision.model_io.Tensor`.
        model_output: The model's output.
        card: Card of the model.

    Raises:
        ImportModelError: They do not match.
    """
    try:
        encoder = fit_input(card, model_input, allow_pixels_as_floats=True)
        fit_output(card, model_output)
    except UnusableModelError as error:
        raise ImportModelError(f"the model cannot be used: {error}") from error
    if encoder.dtype == STRING or (model_input.shape or (None,))[0] is not None:
        raise ImportModelError(
            f"the model takes {to_text(model_input)}; a version that describes itself takes pixels in batches of any "
            "size. Serve this model as it is, with its card in NAME/card.json, or export it again."
        )
    return encoder.shape
