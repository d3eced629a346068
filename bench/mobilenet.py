"""A MobileNetV2 to measure with: the architecture counts, so its weights are random and nothing is downloaded."""

from pathlib import Path


def export(folder: Path) -> None:
    """Write a SavedModel: `image` uint8[N, 224, 224, 3] to `probabilities` float32[N, 1000], weights as constants."""
    import keras  # noqa: PLC0415  # in the process that exports, not in those that measure
    import tensorflow as tf  # noqa: PLC0415  # as above
    from tensorflow.python.framework.convert_to_constants import (  # noqa: PLC0415  # as above
        convert_variables_to_constants_v2,
    )

    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNetV2(weights=None)
    spec = tf.TensorSpec((None, 224, 224, 3), tf.uint8, name="image")
    live = tf.function(lambda image: network(tf.cast(image, tf.float32) / 127.5 - 1, training=False), [spec])
    frozen = convert_variables_to_constants_v2(live.get_concrete_function())

    module = tf.Module()
    module.serve = tf.function(lambda image: {"probabilities": frozen(image)[0]}, [spec])
    tf.saved_model.save(module, str(folder), signatures=module.serve)
