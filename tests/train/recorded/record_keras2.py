"""Record what Keras 2 returns with a small network that has what Keras 3 reads otherwise.

    python tests/train/recorded/record_keras2.py tests/train/recorded

needs tf_keras 2.20, which is not a dependency of the project. The network is a miniature of what transfer learning with
MobileNetV2 or V3 leaves: a model within a model, depthwise and separable convolutions, names with a slash, operators.
"""

import argparse
from pathlib import Path

import numpy as np
import tf_keras
from tf_keras import layers


def build() -> tf_keras.Model:
    """Build the network: float32[N, 16, 16, 3] of 0..255 to float32[N, 4] independent probabilities."""
    image = tf_keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, use_bias=False, name="stem/conv")(image)
    x = layers.BatchNormalization(name="stem/bn")(x)
    x = x * (layers.ReLU(6.0)(x + 3.0) * (1 / 6))
    x = layers.DepthwiseConv2D(3, padding="same", name="block/depthwise")(x)
    x = layers.SeparableConv2D(8, 3, padding="same")(layers.ReLU(6.0)(x))
    base = tf_keras.Model(image, x, name="base")
    photo = tf_keras.Input((16, 16, 3))
    features = layers.GlobalAveragePooling2D()(base(photo / 127.5 - 1.0, training=False))
    return tf_keras.Model(photo, layers.Dense(4, activation="sigmoid")(layers.Dropout(0.5)(features)))


def main() -> None:
    """Write the network and its answers."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    folder = arguments.parse_args().folder
    tf_keras.utils.set_random_seed(0)
    network = build()
    random = np.random.default_rng(0)
    network.set_weights(
        [random.uniform(0.1, 1.0, array.shape) * np.sign(array + 0.1) for array in network.get_weights()]
    )
    images = random.integers(0, 256, (3, 16, 16, 3), np.uint8)
    outputs = network(images.astype(np.float32), training=False).numpy()
    network.save(folder / "keras2_multilabel.h5")
    np.savez(folder / "keras2_answers.npz", images=images, outputs=outputs, framework=f"Keras {tf_keras.__version__}")


if __name__ == "__main__":
    main()
