"""Export a network as the next version of a served model, and verify the version before any server loads it."""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.data.batching import predict_in_batches
from train.data.examples import Example, Predict, to_inputs
from train.data.whole_file import named_errors
from train.errors import TrainError
from train.export.detached_weights import load_without_weights
from train.export.frozen_network import FrozenNetwork, flatten_function
from train.export.golden import TOLERANCE, Golden, golden_evaluation, write_golden
from train.export.precision import FULL_PRECISION, ExportPrecision, Form
from train.export.savedmodel import list_versions
from train.export.signatures import write_graph
from train.export.tflite_model import MODEL_FILE, TfliteModel, load_tflite
from train.export.warmup import write_warmup
from vision.card import Card

CARD_FILE = Path("assets.extra/card.json")
"""A copy of the card for people; programs read the output of the signature `describe`."""
MAX_ROUNDING_DIFFERENCE = 0.5
"""The largest change of a probability that reduced precision may cause; a larger one indicates a defect."""

Probabilities: TypeAlias = npt.NDArray[np.float32]


class ExportError(TrainError):
    """The version could not be written; nothing of it remains."""


@dataclass(frozen=True, slots=True)
class ExportedVersion:
    """A version that was written.

    Attributes:
        path: Directory of the version.
        largest_difference: Largest difference between a probability of the version and the same one of the original
            network, over the golden images.
    """

    path: Path
    largest_difference: float

    @property
    def sizes(self) -> dict[Form, int]:
        """The size of each form that the version has, in bytes."""
        files: dict[Form, Iterable[Path]] = {
            "saved_model": [self.path / "saved_model.pb", *self.path.glob("variables/*")],
            "tflite": self.path.glob(str(MODEL_FILE)),
        }
        sizes = {form: sum(file.stat().st_size for file in members) for form, members in files.items()}
        return {form: size for form, size in sizes.items() if size}


def export_network(  # noqa: PLR0913, PLR0917  # the parts of a version
    network: FrozenNetwork,
    card: Card,
    examples: Sequence[Example],
    base: Path,
    original: Predict,
    tflite: TfliteModel | None = None,
) -> ExportedVersion:
    """Write a network under the next free version number.

    The version is first written to `N.tmp`, which model servers ignore. It is then loaded, compared with the network
    and renamed to `N`. Exports at the same time get different numbers.

    Args:
        network: The network of the version.
        card: Card of the version.
        examples: The golden images of the version.
        base: Directory of the model; created if missing.
        original: The network before freezing. At full precision its probabilities must match those of `network`
            within `TOLERANCE`.
        tflite: The TensorFlow Lite form of the network, if the version is to have one; see `train.export.forms`.

    Raises:
        ExportError: The version differs from the network, or the network differs from `original`.
        OSError: A file cannot be written.
        In both cases nothing of the version remains.
    """
    card = _add_precision(card, network.precision, tflite)
    images = to_inputs(examples, card.input, len(card.labels)).images
    probabilities = predict_in_batches(network.predict, images)
    tolerance = TOLERANCE if network.precision == FULL_PRECISION else MAX_ROUNDING_DIFFERENCE
    difference = _check_difference(probabilities, predict_in_batches(original, images), tolerance)
    tflite_probabilities = tflite.predict(images) if tflite else [None] * len(images)
    goldens = [Golden(*row) for row in zip(examples, probabilities, tflite_probabilities, strict=True)]
    with _next_version(base) as (temporary, final):
        network.release()
        write_graph(temporary, network, card)
        if tflite:
            (temporary / MODEL_FILE).write_bytes(tflite.with_card(card).content)
        write_warmup(temporary, card, explains=network.explains)
        write_golden(temporary, goldens, card.labels, tflite.weights if tflite else "int8")
        (temporary / CARD_FILE).write_text(f"{card.to_json()}\n", encoding="utf-8")
        _verify_version(temporary, card, goldens)
        temporary.rename(final)
    return ExportedVersion(final, difference)


@contextlib.contextmanager
def _next_version(base: Path) -> Iterator[tuple[Path, Path]]:
    """Create a temporary folder and yield it with its final path; remove the folder if it was not renamed."""
    is_new = not base.exists()
    base.mkdir(parents=True, exist_ok=True)
    temporary = _reserve_number(base)
    final = temporary.with_suffix("")
    try:
        with named_errors(temporary):
            yield temporary, final
    except tf.errors.OpError as error:
        raise OSError(f"{temporary} could not be written: {error.message}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if is_new:
            with contextlib.suppress(OSError):  # it holds a version
                base.rmdir()


def _reserve_number(base: Path) -> Path:
    """Create the folder `N.tmp` of the next number N that neither a version nor another export has."""
    number = max(list_versions(base), default=0)
    while True:
        number += 1
        temporary = base / f"{number}.tmp"
        with contextlib.suppress(FileExistsError):
            temporary.mkdir()
            if not (base / str(number)).exists():  # another export may have finished meanwhile
                return temporary
            temporary.rmdir()


def _add_precision(card: Card, precision: ExportPrecision, tflite: TfliteModel | None) -> Card:
    members = {"weights": precision.weights, "compute": precision.compute} if precision != FULL_PRECISION else {}
    if tflite:
        members["tflite"] = tflite.weights
    return dataclasses.replace(card, provenance={**card.provenance, **members})


def _verify_version(folder: Path, card: Card, goldens: Sequence[Golden]) -> None:
    """Compare the written version with its card and the network, in each of its forms."""
    text, network = _read_back(folder)
    tflite = load_tflite(folder, card)
    if Card.from_json(text) != Card.from_json(card.to_json()) or (tflite and tflite.describe() != text):
        raise ExportError("the card in the exported graph differs from the one that was written")
    images = to_inputs([golden.example for golden in goldens], card.input, len(card.labels)).images
    _check_difference(predict_in_batches(network.predict, images), golden_evaluation(goldens).probabilities, TOLERANCE)
    network.release()
    if tflite:
        _check_difference(tflite.predict(images), golden_evaluation(goldens, form="tflite").probabilities, TOLERANCE)


def _read_back(folder: Path) -> tuple[bytes, FrozenNetwork]:
    """Return the card of a version, and its signature `serving_default` as a network, which takes less memory.

    The weights have been rounded already.
    """
    loaded, weights = load_without_weights(folder)
    text = loaded.signatures["describe"](index=tf.constant([0]))["card"].numpy()[0]
    graph, source, fetches = flatten_function(loaded.signatures["serving_default"])
    return text, FrozenNetwork(graph, weights, source, fetches)


def _check_difference(actual: Probabilities, expected: Probabilities, tolerance: float) -> float:
    """Return the largest difference, or raise ExportError if it exceeds `tolerance`."""
    difference = float(np.abs(actual - expected).max())
    if not difference <= tolerance:  # also true for NaN
        raise ExportError(
            f"a probability of the exported graph differs by {difference:.1e}, {tolerance:.0e} is allowed"
        )
    return difference
