"""MobileNetV2 for photos, as a Keras file for those who run it in process and as a version for the model server.

    python -m bench.network FOLDER [WEIGHTS]

What it computes counts, not what it says: without a file of weights they are random, with a last layer that makes the
answers to different pictures differ.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench import pictures

NAME = "photos"
SIDE = 224
CLASSES = 1000
_CONTRAST = 10.0


def main(folder: Path, weights: str | None) -> None:
    """Write the Keras file, the card, and pictures for the golden images."""
    import keras  # noqa: PLC0415  # this module is imported without it too

    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNetV2(weights=weights)
    if weights is None:
        _bring_to_life(network)
    network.save(folder / "network.keras")
    card = {
        "name": NAME,
        "labels": [f"c{number}" for number in range(CLASSES)],
        "input": {"height": SIDE, "width": SIDE, "dtype": "float32", "mean": [127.5] * 3, "std": [127.5] * 3},
        "output": {"activation": "none"},
    }
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    examples = folder / "pictures"
    examples.mkdir(exist_ok=True)
    for width in (300, 400, 500):
        (examples / f"{width}.jpg").write_bytes(pictures.photo(width, width * 3 // 4))


def _bring_to_life(network: Any) -> None:
    """Let random weights tell pictures apart: normalised for some pictures, with a last layer that exaggerates."""
    import keras  # noqa: PLC0415  # as above

    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0  # what it sees once is what it expects from now on
    seen = [pictures.pixels(pictures.photo(width, width * 3 // 4), SIDE) for width in range(200, 520, 20)]
    network(np.stack(seen).astype(np.float32) / 127.5 - 1, training=True)
    kernel, bias = network.layers[-1].get_weights()
    network.layers[-1].set_weights([kernel * _CONTRAST, bias])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)  # noqa: PLR2004  # program, folder, weights
