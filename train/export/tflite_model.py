"""Run a `.tflite` file in this process, as the reference for the model server."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from train.export.frozen_network import CONFIDENCE, IMAGE, PROBABILITIES
from train.export.precision import TfliteWeights
from train.export.savedmodel import VersionError
from train.export.signatures import CARD, CLASS_ID, INDEX
from train.export.tflite_file import replace_text
from vision.card import Card

Images: TypeAlias = npt.NDArray[np.uint8]
Outputs: TypeAlias = dict[str, npt.NDArray[Any]]

MERGED = "merged"
"""The converter's name of the function that returns the outputs of all signatures."""
NO_CARD = "{}"
"""What `describe` returns until a network gets its card, which says what was measured of the network."""
MODEL_FILE = Path("model.tflite")
"""Path in the directory of a version."""


class TfliteModel:
    """A network as a `.tflite` file, which one interpreter runs on one thread, as TensorFlow Serving does.

    Args:
        content: The file, with the signatures of the model contract.
        weights: Type of its weights.
    """

    def __init__(self, content: bytes, weights: TfliteWeights) -> None:
        self.content = content
        self.weights = weights

    def with_card(self, card: Card) -> "TfliteModel":
        """Return the same network with another output of `describe`."""
        return TfliteModel(replace_text(self.content, card.to_json()), self.weights)

    def predict(self, images: Images) -> npt.NDArray[np.float32]:
        """Return float32[N, K] probabilities for uint8[N, H, W, C], computed image by image."""
        return np.concatenate([self.run(image[None])[PROBABILITIES] for image in images])

    def predict_confidence(self, images: Images) -> npt.NDArray[np.float32]:
        """Return the float32[N] confidence for uint8[N, H, W, C], if the network has this output."""
        return np.concatenate([self.run(image[None])[CONFIDENCE] for image in images])

    def describe(self) -> bytes:
        """Return the output of `describe` for one row."""
        text: bytes = self.run(np.zeros(self._image_shape, np.uint8))[CARD][0]
        return text

    def run(
        self, images: Images, class_id: npt.NDArray[np.int32] | None = None, index: npt.NDArray[np.int32] | None = None
    ) -> Outputs:
        """Compute all outputs, as TensorFlow Serving does for every request.

        Args:
            images: uint8[N, H, W, C].
            class_id: int32[N]; class 0 by default. Ignored if the network cannot be explained.
            index: int32[M]; one row by default.

        Raises:
            RuntimeError: An operation refuses its inputs.
        """
        inputs = {
            IMAGE: images,
            CLASS_ID: np.zeros(1, np.int32) if class_id is None else class_id,
            INDEX: np.zeros(1, np.int32) if index is None else index,
        }
        outputs: Outputs = self._runner(**{name: inputs[name] for name in self._runner.get_input_details()})
        return outputs

    @cached_property
    def _runner(self) -> Any:
        interpreter = Interpreter(model_content=self.content, num_threads=1)
        interpreter.allocate_tensors()
        return interpreter.get_signature_runner(MERGED)

    @property
    def _image_shape(self) -> Sequence[int]:
        shape: Sequence[int] = self._runner.get_input_details()[IMAGE]["shape"]
        return shape


def load_tflite(folder: Path, card: Card) -> TfliteModel | None:
    """Load the TensorFlow Lite form of a version; None if the version has none.

    Args:
        folder: Directory of the version.
        card: Card of the version.

    Raises:
        VersionError: The file is damaged or of another version, or the card does not tell the type of its weights.
        OSError: The file cannot be read.
    """
    path = folder / MODEL_FILE
    if not path.exists():
        return None
    weights: Any = card.provenance.get("tflite")
    if weights not in get_args(TfliteWeights):
        raise VersionError(
            f"{path}: expected provenance.tflite in the card to be one of {', '.join(get_args(TfliteWeights))},"
            f" received {weights!r}; export the version again, or delete this file"
        )
    model = TfliteModel(path.read_bytes(), weights)
    try:
        described = Card.from_json(model.describe())
    except (ValueError, RuntimeError, KeyError) as error:
        raise VersionError(f"{path} is damaged; export the version again ({error})") from error
    if described != card:
        raise VersionError(
            f"{path} and the SavedModel in the same folder have different cards; export the version again"
        )
    return model
