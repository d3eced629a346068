"""Write a trained network as the next version of a served model, checked before any server sees it."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from train.errors import TrainError
from train.examples import Example, to_inputs
from train.golden import TOLERANCE, Golden, evaluation, write_golden
from train.graph import write_graph
from train.loop import predictor
from train.savedmodel import load_version, versions
from train.warmup import write_warmup
from vision.card import Card

CARD_FILE = Path("assets.extra/card.json")
"""A copy for people; what counts is the answer of the signature `describe`."""


class ExportError(TrainError):
    """No version was written."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A version that was written.

    Attributes:
        path: Its directory.
        largest_difference: Between any probability of the network and of the version, on the golden images.
    """

    path: Path
    largest_difference: float


def export(model: keras.Model, card: Card, examples: Sequence[Example], base: Path) -> Exported:
    """Write `model` under the next free version number.

    It is written beside the versions as `N.tmp`, which model servers do not look at, loaded back, compared
    with the network, and only then renamed.

    Args:
        model: As `train.loop.fit` returns it.
        card: What the version says about itself.
        examples: They become its golden images.
        base: The model's directory; made if need be.

    Raises:
        ExportError: What was written answers otherwise than the network, or `N.tmp` exists already.
        OSError: A file cannot be written.
        In both cases nothing is left of the version.
    """
    probabilities = predictor(model)(to_inputs(examples, card.input).images)
    goldens = [Golden(*pair) for pair in zip(examples, probabilities, strict=True)]
    with _next_version(base) as (temporary, final):
        write_graph(temporary, model, card)
        write_warmup(temporary, card)
        write_golden(temporary, goldens, card.labels)
        (temporary / CARD_FILE).write_text(f"{card.to_json()}\n", encoding="utf-8")
        difference = _check(temporary, card, goldens)
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


def _check(folder: Path, card: Card, goldens: Sequence[Golden]) -> float:
    """Compare what was written with the card and the network; return the largest difference."""
    version = load_version(folder)
    if version.card != Card.from_json(card.to_json()):
        raise ExportError("the exported graph describes itself otherwise than its card")
    images = to_inputs([golden.example for golden in goldens], version.card.input).images
    wanted = evaluation(goldens).probabilities
    difference = float(np.abs(version.predict(images) - wanted).max())
    if not difference <= TOLERANCE:  # NaN is no good either
        raise ExportError(
            f"a probability of the exported graph differs by {difference:.1e}, {TOLERANCE:.0e} is allowed"
        )
    return difference
