"""MobileNetV2 for the measurements, as a Keras file, and as a SavedModel for the bare model server.

    python -m bench.network FOLDER [WEIGHTS]

Only its cost matters. Without a file of weights, the weights are random, adjusted so that different images get
different answers.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench import images
from bench.alternatives.engine import KERAS

NAME = "photos"
SIDE = 224
CLASSES = 1000
_CONTRAST = 10.0
_WIDTHS = range(200, 500, 3)
"""Widths of the photos on which int8 is calibrated."""


def main(folder: Path, weights: str | None) -> None:
    """Write the Keras file, the card, and images for golden images and for the calibration of int8."""
    import keras  # noqa: PLC0415  # this module is also imported where Keras is not needed

    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNetV2(weights=weights)
    if weights is None:
        _differentiate_answers(network)
    network.save(folder / KERAS)
    card = {
        "name": NAME,
        "labels": [f"c{number}" for number in range(CLASSES)],
        "input": {"height": SIDE, "width": SIDE, "dtype": "float32", "mean": [127.5] * 3, "std": [127.5] * 3},
        "output": {"activation": "none"},
    }
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    examples = folder / "pictures"
    examples.mkdir(exist_ok=True)
    for width in _WIDTHS:
        (examples / f"{width}.jpg").write_bytes(images.photo(width, width * 3 // 4))


def export_frozen(folder: Path) -> None:
    """Write a SavedModel from `image` uint8[N, 224, 224, 3] to `probabilities` float32[N, 1000], weights as constants.

    Its weights are random.
    """
    import keras  # noqa: PLC0415  # as above
    import tensorflow as tf  # noqa: PLC0415  # as above
    from tensorflow.python.framework.convert_to_constants import (  # noqa: PLC0415  # as above
        convert_variables_to_constants_v2,
    )

    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNetV2(weights=None)
    spec = tf.TensorSpec((None, SIDE, SIDE, 3), tf.uint8, name="image")
    live = tf.function(lambda image: network(tf.cast(image, tf.float32) / 127.5 - 1, training=False), [spec])
    frozen = convert_variables_to_constants_v2(live.get_concrete_function())

    module = tf.Module()
    module.serve = tf.function(lambda image: {"probabilities": frozen(image)[0]}, [spec])
    tf.saved_model.save(module, str(folder), signatures=module.serve)


def _differentiate_answers(network: Any) -> None:
    """Adjust random weights so that different images get different answers.

    Batch normalization learns the statistics of some images, and the last layer is scaled up.
    """
    import keras  # noqa: PLC0415  # as above

    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # one call replaces the statistics
    batch = [images.pixels(images.photo(width, width * 3 // 4), SIDE) for width in range(200, 520, 20)]
    network(np.stack(batch).astype(np.float32) / 127.5 - 1, training=True)
    kernel, bias = network.layers[-1].get_weights()
    network.layers[-1].set_weights([kernel * _CONTRAST, bias])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)  # noqa: PLR2004  # program, folder, weights
