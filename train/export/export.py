"""Write a trained network as the next version of a served model, checked before any server sees it."""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.data.examples import Example, Predict, to_inputs
from train.errors import TrainError
from train.export.frozen_network import Network, network_of
from train.export.golden import TOLERANCE, Golden, evaluation, write_golden
from train.export.precision import FULL_PRECISION, ExportPrecision
from train.export.savedmodel import load_version, versions
from train.export.signatures import write_graph
from train.export.warmup import write_warmup
from train.training.loop import predictor
from vision.card import Card

CARD_FILE = Path("assets.extra/card.json")
"""A copy for people; what counts is the answer of the signature `describe`."""
MOST = 0.5
"""The most that a probability may change with the form of the weights; what is more was no rounding."""

Probabilities: TypeAlias = npt.NDArray[np.float32]


class ExportError(TrainError):
    """No version was written."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A version that was written.

    Attributes:
        path: Its directory.
        largest_difference: Between any probability of the trained network and of the version, on the golden images.
    """

    path: Path
    largest_difference: float


def export(
    model: keras.Model, card: Card, examples: Sequence[Example], base: Path, precision: ExportPrecision = FULL_PRECISION
) -> Exported:
    """Freeze a trained network and write it as `export_network` does.

    Args:
        model: As `train.training.loop.fit` returns it.
        card: What the version says about itself.
        examples: They become its golden images.
        base: The model's directory; made if need be.
        precision: What shall be done to its weights.

    Raises:
        ExportError: See `export_network`, as for `OSError`.
        OSError: A file cannot be written.
    """
    return export_network(network_of(model, card.input, precision), card, examples, base, predictor(model))


def export_network(network: Network, card: Card, examples: Sequence[Example], base: Path, trained: Predict) -> Exported:
    """Write `network` under the next free version number.

    It is written beside the versions as `N.tmp`, which model servers do not look at, loaded back, compared
    with the network, and only then renamed.

    Args:
        network: What the version shall answer with.
        card: What the version says about itself.
        examples: They become its golden images.
        base: The model's directory; made if need be.
        trained: What the network was made of. Unless its weights were changed in form, it has to answer the same.

    Raises:
        ExportError: What was written answers otherwise than the network, or the network otherwise than `trained`,
            or `N.tmp` exists already.
        OSError: A file cannot be written.
        In both cases nothing is left of the version.
    """
    card = _with_form(card, network.precision)
    images = to_inputs(examples, card.input, len(card.labels)).images
    probabilities = network.predict(images)
    difference = _difference(probabilities, trained(images), TOLERANCE if network.precision == FULL_PRECISION else MOST)
    goldens = [Golden(*pair) for pair in zip(examples, probabilities, strict=True)]
    with _next_version(base) as (temporary, final):
        write_graph(temporary, network, card)
        write_warmup(temporary, card, explains=network.explains)
        write_golden(temporary, goldens, card.labels)
        (temporary / CARD_FILE).write_text(f"{card.to_json()}\n", encoding="utf-8")
        _check(temporary, card, goldens)
        temporary.rename(final)
    return Exported(final, difference)


@contextlib.contextmanager
def _next_version(base: Path) -> Iterator[tuple[Path, Path]]:
    """Give the folder to write to, just made, and its later name; what is still there at the end is removed."""
    base.mkdir(parents=True, exist_ok=True)
    final = base / str(max(versions(base), default=0) + 1)
    temporary = final.with_name(f"{final.name}.tmp")
    try:
        temporary.mkdir()
    except FileExistsError as error:
        raise ExportError(
            f"{temporary} exists: another export is under way, or one was killed; in that case delete it"
        ) from error
    try:
        yield temporary, final
    except tf.errors.OpError as error:
        raise OSError(f"{temporary} could not be written: {error.message}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _with_form(card: Card, precision: ExportPrecision) -> Card:
    changed = {"weights": precision.weights, "compute": precision.compute} if precision != FULL_PRECISION else {}
    return dataclasses.replace(card, provenance={**card.provenance, **changed})


def _check(folder: Path, card: Card, goldens: Sequence[Golden]) -> None:
    """Compare what was written with the card and the network."""
    version = load_version(folder)
    if version.card != Card.from_json(card.to_json()):
        raise ExportError("the exported graph describes itself otherwise than its card")
    images = to_inputs([golden.example for golden in goldens], card.input, len(card.labels)).images
    _difference(version.predict(images), evaluation(goldens).probabilities, TOLERANCE)


def _difference(found: Probabilities, wanted: Probabilities, most: float) -> float:
    """Return the largest difference, if it is no more than `most`."""
    difference = float(np.abs(found - wanted).max())
    if not difference <= most:  # NaN is no good either
        raise ExportError(f"a probability of the exported graph differs by {difference:.1e}, {most:.0e} is allowed")
    return difference
