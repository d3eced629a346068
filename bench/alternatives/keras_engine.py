"""Run a Keras file with TensorFlow by one compiled function, which is faster than `model.predict`."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from bench.alternatives.engine import Images, Predict, Scores, run_once
from bench.alternatives.preprocessing import SIDE


def load(path: Path, max_batch: int) -> Predict:
    """Load a network; TF_NUM_INTRAOP_THREADS sets the number of threads per call."""
    network: Any = keras.models.load_model(path, compile=False)
    shape = (1 if max_batch == 1 else None, SIDE, SIDE, 3)
    scores: Any = tf.function(
        lambda images: network(tf.cast(images, tf.float32) / 127.5 - 1, training=False),
        input_signature=[tf.TensorSpec(shape, tf.uint8)],
    )

    def predict(images: Images) -> Scores:
        result: Scores = scores(tf.constant(images)).numpy()
        return result

    run_once(predict)
    return predict
