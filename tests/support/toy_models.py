"""Write versions of the model `toy` of tests/contracts/model_server.py as SavedModels.

python -m tests.support.toy_models DIR 1 2
"""

import sys
from pathlib import Path

import tensorflow as tf

from tests.contracts.model_server import card


class Toy(tf.Module):
    """Scores 2 x 2 gray pixels by lightness, version / 100, and darkness."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.middle = version / 100
        self.card = card(version).to_json()

    @tf.function(input_signature=[tf.TensorSpec([None, 2, 2, 1], tf.uint8, name="image")])
    def classify(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        light = tf.reduce_mean(tf.cast(image, tf.float32), axis=[1, 2, 3]) / 255
        return {"probabilities": tf.stack([light, tf.fill(tf.shape(light), self.middle), 1 - light], axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="index")])
    def describe(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"card": tf.fill(tf.shape(index), self.card)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def fail(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"number": tf.strings.to_number(text)}


def main() -> None:
    directory, *versions = sys.argv[1:]
    for version in map(int, versions):
        toy = Toy(version)
        signatures = {"serving_default": toy.classify, "describe": toy.describe, "fail": toy.fail}
        tf.saved_model.save(toy, str(Path(directory) / str(version)), signatures=signatures)


if __name__ == "__main__":
    main()
