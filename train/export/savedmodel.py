"""Find, load and run exported versions in this process, as the reference for the model server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.errors import TrainError
from vision.card import Card, CardError


class VersionError(TrainError):
    """A version directory is missing or cannot be used."""


@dataclass(frozen=True, slots=True)
class Version:
    """One loaded version of a model.

    Attributes:
        path: Directory of the version.
        card: The card from its signature `describe`.
        loaded: The object that TensorFlow loaded, with its functions by name in `signatures`.
    """

    path: Path
    card: Card
    loaded: Any

    @property
    def number(self) -> int:
        """The version number."""
        return int(self.path.name)

    @property
    def network(self) -> Any:
        """The function that `train.export.signatures.write_graph` stores beside the signatures.

        Raises:
            VersionError: The version has no such function, because another program or an old release wrote it.
        """
        try:
            return self.loaded.network
        except AttributeError:
            raise VersionError(
                f"{self.path} was written by another program or an old release; export it again"
            ) from None

    def predict_confidence(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run `serving_default` for the output that the card names as `output.confidence`: float32[N]."""
        outputs = self.loaded.signatures["serving_default"](image=tf.constant(images))
        return np.asarray(outputs[self.card.output.confidence].numpy(), np.float32)

    def predict(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run `serving_default`: uint8[N, H, W, C] to float32[N, K] probabilities."""
        outputs = self.loaded.signatures["serving_default"](image=tf.constant(images))
        return np.asarray(outputs["probabilities"].numpy(), np.float32)


def load_version(path: Path) -> Version:
    """Load an exported version.

    Raises:
        VersionError: The version cannot be loaded, or has no card.
    """
    if versions := list_versions(path):
        raise VersionError(f"{path} is the folder of a model; expected that of a version: {versions[max(versions)]}")
    try:
        loaded = tf.saved_model.load(str(path))
        outputs = loaded.signatures["describe"](index=tf.constant([0]))
        card = Card.from_json(outputs["card"].numpy()[0])
    except (OSError, KeyError, CardError, tf.errors.OpError) as error:
        raise VersionError(f"{path} is not a version of a model with a card: {error}") from error
    return Version(path, card, loaded)


def list_versions(base: Path) -> dict[int, Path]:
    """Return the version directories of a model by number; other entries are ignored."""
    if not base.is_dir():
        return {}
    return {int(entry.name): entry for entry in base.iterdir() if entry.name.isdecimal()}


def newest_version(base: Path) -> Path:
    """Return the directory of the highest version number.

    Raises:
        VersionError: The model has no version.
    """
    versions = list_versions(base)
    if not versions:
        raise VersionError(f"{base} contains no version of a model")
    return versions[max(versions)]
