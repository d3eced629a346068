"""A served version, run in this process: what the model server should answer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.errors import TrainError
from vision.card import Card, CardError


class VersionError(TrainError):
    """A version directory that cannot be used."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model.

    Attributes:
        path: Its directory.
        card: What it says about itself.
        loaded: The object TensorFlow loaded it as, with its functions by name in `signatures`.
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
        """The function that `train.export.signatures.write_graph` adds to the signatures.

        Raises:
            VersionError: It is not there: the version was made otherwise.
        """
        try:
            return self.loaded.network
        except AttributeError:
            raise VersionError(f"{self.path} was not written by this program, or long ago; export it again") from None

    def predict(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Run `serving_default`: uint8[N, H, W, C] to float32[N, K] probabilities."""
        answer = self.loaded.signatures["serving_default"](image=tf.constant(images))
        return np.asarray(answer["probabilities"].numpy(), np.float32)


def load_version(path: Path) -> Version:
    """Load a version that `train.export.export` wrote.

    Raises:
        VersionError: It cannot be loaded or has no card.
    """
    try:
        loaded = tf.saved_model.load(str(path))
        described = loaded.signatures["describe"](index=tf.constant([0]))
        card = Card.from_json(described["card"].numpy()[0])
    except (OSError, KeyError, CardError, tf.errors.OpError) as error:
        raise VersionError(f"{path} is no version of a model with a card: {error}") from error
    return Version(path, card, loaded)


def versions(base: Path) -> dict[int, Path]:
    """Return the version directories of a model by number; what else lies there is not looked at."""
    if not base.is_dir():
        return {}
    return {int(entry.name): entry for entry in base.iterdir() if entry.name.isdecimal()}


def newest_version(base: Path) -> Path:
    """Return the directory of the highest version number.

    Raises:
        VersionError: There is none.
    """
    found = versions(base)
    if not found:
        raise VersionError(f"{base} holds no version of a model")
    return found[max(found)]
