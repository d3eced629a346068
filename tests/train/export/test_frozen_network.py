"""What a graph of constants cannot hold is refused, and features of any type can be explained."""

import numpy as np
import pytest
import tensorflow as tf

from train.errors import TrainError
from train.export.frozen_network import FEATURES, PROBABILITIES, Tensor, complete_outputs, freeze_function
from vision.card import InputSpec

SPEC = InputSpec(height=4, width=4)


def probabilities(rows: Tensor) -> dict[str, Tensor]:
    return {PROBABILITIES: tf.nn.softmax(tf.concat([rows, -rows], axis=1))}


def test_a_loop_is_refused():
    def call(image: Tensor) -> dict[str, Tensor]:
        mean = tf.reduce_mean(tf.cast(image, tf.float32), axis=(1, 2, 3))
        return probabilities(tf.map_fn(lambda value: value / 2, mean)[:, None])

    with pytest.raises(TrainError, match=r"the network has a loop, as recurrent layers and tf\.map_fn make; export it"):
        freeze_function(call, SPEC)


def test_a_lookup_table_is_refused():
    values = tf.lookup.KeyValueTensorInitializer(tf.range(256, dtype=tf.int64), tf.linspace(0.0, 1.0, 256))
    table = tf.lookup.StaticHashTable(values, 0.0)

    def call(image: Tensor) -> dict[str, Tensor]:
        return probabilities(tf.reduce_mean(table.lookup(tf.cast(image, tf.int64)), axis=(1, 2))[:, :1])

    with pytest.raises(TrainError, match="the network has a lookup table, whose values are not constants"):
        freeze_function(call, SPEC)


def test_outputs_in_half_precision_become_float32():
    outputs = {FEATURES: np.zeros((1, 2, 2, 3), np.float16), PROBABILITIES: np.array([[0.25, 0.75]], np.float16)}

    completed = complete_outputs(outputs)

    assert {tensor.dtype for tensor in completed.values()} == {tf.float32}
