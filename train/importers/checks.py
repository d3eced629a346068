"""Check what an imported network returns: for the images that the gateway tries, and for those of its user."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from train.data.examples import Example
from train.data.image_loading import load
from train.export.frozen_network import FrozenNetwork
from train.importers.cards import ImportModelError
from vision.card import Card
from vision.decode import ImageError
from vision.postprocess import NotProbabilitiesError, activation_of_logits, class_probabilities
from vision.preprocess import preprocess
from vision.probes import NAMES, check_probabilities, probe

Array = npt.NDArray[Any]


def check_scores(network: FrozenNetwork, card: Card) -> None:
    """Check the scores of the images in `vision.probes`, as the gateway does before a version answers.

    Args:
        network: The imported network.
        card: The card of its version, as `served_card` returns it.

    Raises:
        ImportModelError: They are not probabilities.
    """
    with _import_errors(card, network.classes):
        check_probes(network.predict, card)


def pseudo_label(paths: Sequence[Path], card: Card, network: FrozenNetwork) -> list[Example]:
    """Label images with the predictions of a network, for golden images whose true classes are unknown.

    Raises:
        ImportModelError: An image cannot be decoded, or its scores are not probabilities.
    """
    examples = []
    for path in paths:
        try:
            image = load(path.read_bytes(), card.input)
        except (OSError, ImageError) as error:
            raise ImportModelError(f"{path}: {error}") from error
        scores = _predict(network, np.asarray(image, np.uint8), card, path.name)
        thresholds = np.array(card.threshold, np.float32)
        classes = np.flatnonzero(scores >= thresholds) if card.task == "multilabel" else [scores.argmax()]
        examples.append(Example(path, tuple(map(int, classes)), path.name))
    return examples


def check_probes(predict: Callable[[npt.NDArray[np.uint8]], Array], card: Card) -> None:
    """Check that what a network returns for the images in `vision.probes` are probabilities.

    Raises:
        ValueError: See `vision.probes.check_probabilities`.
    """
    spec = dataclasses.replace(card.input, dtype="uint8", layout="NHWC", mean=(), std=())
    for name in NAMES:
        image = preprocess(probe(name, spec.height, spec.width), spec)
        check_probabilities(predict(np.asarray(image, np.uint8)[None]), card, name)


def _predict(network: FrozenNetwork, image: npt.NDArray[np.uint8], card: Card, name: str) -> npt.NDArray[np.float32]:
    scores = network.predict(image[None])
    with _import_errors(card, scores.size):
        return class_probabilities(scores, card, image=name)


@contextmanager
def _import_errors(card: Card, scores: int) -> Iterator[None]:
    """Turn the errors of scores that cannot be used into an `ImportModelError` that says what to do."""
    try:
        yield
    except NotProbabilitiesError as error:
        otherwise = " or, if several labels may be right, task to multilabel" if error.are_in_range else ""
        raise ImportModelError(
            f"the model cannot be used: {error}; if they are logits, set output.activation in its card to "
            f"{activation_of_logits(card, scores)}{otherwise}"
        ) from error
    except ValueError as error:
        raise ImportModelError(f"the model cannot be used: {error}") from error
