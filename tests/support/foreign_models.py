"""Write models as other programs export them, each of which tells dark images from light ones.

python -m tests.support.foreign_models DIR
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

SIDE = 8
LABELS = ["dark", "light"]
CARD: dict[str, Any] = {"labels": LABELS, "input": {"height": SIDE, "width": SIDE, "color": "GRAY"}}
FLOAT_CARD = CARD | {"input": CARD["input"] | {"dtype": "float32", "std": [255]}}
MAX = 255.0
PLATFORM = ' model_platform: "tensorflow"'


def lightness(x: tf.Tensor) -> tf.Tensor:
    """Return the mean of each row, float32[N, 1]."""
    return tf.reduce_mean(tf.reshape(tf.cast(x, tf.float32), [tf.shape(x)[0], -1]), axis=1, keepdims=True)


def shares(light: tf.Tensor) -> tf.Tensor:
    """Return float32[N, 2] probabilities of dark and light."""
    return tf.concat([1 - light, light], axis=1)


def decoded(files: tf.Tensor) -> tf.Tensor:
    """Decode string[N] to uint8[N, SIDE, SIDE, 3]."""
    pixels = tf.TensorSpec((SIDE, SIDE, 3), tf.uint8)
    return tf.map_fn(lambda file: tf.io.decode_jpeg(file, channels=3), files, fn_output_signature=pixels)


Model = tuple[tuple[int | None, ...], tf.DType, Callable[[tf.Tensor], dict[str, tf.Tensor]], dict[str, Any] | None]

MODELS: dict[str, Model] = {
    "without_channels": ((None, SIDE, SIDE), tf.float32, lambda x: {"y": shares(lightness(x))}, None),
    "flat": ((None, SIDE * SIDE), tf.float32, lambda x: {"y": shares(lightness(x))}, FLOAT_CARD),
    "half_precision": ((None, SIDE, SIDE, 1), tf.float16, lambda x: {"y": shares(lightness(x))}, FLOAT_CARD),
    "double_precision": ((None, 1, SIDE, SIDE), tf.float64, lambda x: {"y": shares(lightness(x))}, None),
    "integers": ((None, SIDE, SIDE, 3), tf.int32, lambda x: {"y": shares(lightness(x) / MAX)}, None),
    "long_integers": ((None, SIDE * SIDE), tf.int64, lambda x: {"y": shares(lightness(x) / MAX)}, CARD),
    "files": ((None,), tf.string, lambda x: {"y": shares(lightness(decoded(x)) / MAX)}, CARD),
    "one_at_a_time": ((1, SIDE, SIDE, 3), tf.uint8, lambda x: {"y": shares(lightness(x) / MAX)}, None),
    "sigmoid": ((None, SIDE, SIDE, 3), tf.float32, lambda x: {"y": lightness(x)}, None),
    "sigmoid_logit": (
        (None, SIDE, SIDE, 1),
        tf.float32,
        lambda x: {"y": 9 * lightness(x) - 4},
        FLOAT_CARD | {"output": {"activation": "sigmoid"}},
    ),
    "nested_scores": (
        (None, SIDE, SIDE, 3),
        tf.float32,
        lambda x: {"y": shares(lightness(x))[:, None, None, :]},
        None,
    ),
    "several_outputs": (
        (None, SIDE, SIDE, 3),
        tf.float32,
        lambda x: {"logits": 9 * shares(lightness(x)), "probabilities": shares(lightness(x))},
        None,
    ),
    "open_scores": (
        (None, SIDE, SIDE, 3),
        tf.float32,
        lambda x: {"y": tf.raw_ops.PlaceholderWithDefault(input=lightness(x), shape=(None, None))},
        FLOAT_CARD | {"input": FLOAT_CARD["input"] | {"color": "RGB", "std": [255] * 3}},
    ),
    "scores_of_any_rank": (
        (None, SIDE, SIDE, 1),
        tf.float32,
        lambda x: {"y": tf.raw_ops.PlaceholderWithDefault(input=lightness(x)[:, 0], shape=None)},
        FLOAT_CARD,
    ),
    "one_row_of_scores": (
        (None, SIDE, SIDE, 1),
        tf.float32,
        lambda x: {"y": tf.ensure_shape(shares(lightness(x)), (1, 2))},
        FLOAT_CARD,
    ),
    "logit_of_zero_for_gray": (
        (None, SIDE, SIDE, 1),
        tf.float32,
        lambda x: {"y": 4 * lightness(x) + 0.3},
        FLOAT_CARD | {"input": FLOAT_CARD["input"] | {"mean": [127.5], "std": [127.5]}},
    ),
    "logits": ((None, SIDE, SIDE, 3), tf.float32, lambda x: {"y": 9 * shares(lightness(x))}, None),
    "numbers": ((None, SIDE, SIDE, 3), tf.float32, lambda x: {"y": tf.argmax(shares(lightness(x)), 1)}, None),
    "examples": ((None,), tf.string, lambda x: {"y": shares(tf.io.parse_tensor(x[0], tf.float32)[None, None])}, CARD),
    "no_batch": ((SIDE, SIDE, 3), tf.float32, lambda x: {"y": shares(lightness(x[None]))[0]}, None),
}


def network(shades: float = 1) -> tf.keras.Model:
    """Return a small network for images whose numbers reach from 0 to `shades`."""
    image = tf.keras.Input((SIDE, SIDE, 3), name="image")
    means = tf.keras.layers.GlobalAveragePooling2D()(image)
    dense = tf.keras.layers.Dense(2, activation="softmax")
    model = tf.keras.Model(image, dense(means))
    dense.set_weights([np.array([[-1.5, 1.5]] * 3) / shades, np.array([2.25, -2.25])])
    return model


def convert(shades: float = 1, **quantization: Any) -> bytes:
    """Convert `network` as tutorials do, to full integers if the types of input and output are given."""
    converter = tf.lite.TFLiteConverter.from_keras_model(network(shades))
    if quantization:
        gray = np.ones((1, SIDE, SIDE, 3), np.float32) * shades
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([gray * level] for level in np.linspace(0, 1, 20, dtype=np.float32))
        for name, value in quantization.items():
            setattr(converter, name, value)
    return bytes(converter.convert())


TFLITE_CARD = {"labels": LABELS, "input": {"height": SIDE, "width": SIDE}}
TFLITE_MODELS: dict[str, tuple[Callable[[], bytes], dict[str, Any] | None]] = {
    "tflite_floats": (convert, None),
    "tflite_floats_with_a_card": (
        convert,
        TFLITE_CARD | {"input": TFLITE_CARD["input"] | {"dtype": "float32", "std": [255] * 3}},
    ),
    "tflite_bytes": (lambda: convert(MAX, inference_input_type=tf.uint8), None),
    "tflite_signed_bytes": (lambda: convert(inference_input_type=tf.int8), None),
    "tflite_signed_bytes_with_a_card": (
        lambda: convert(inference_input_type=tf.int8),
        TFLITE_CARD | {"input": TFLITE_CARD["input"] | {"dtype": "float32", "mean": [128] * 3}},
    ),
    "tflite_whole_scores": (lambda: convert(inference_input_type=tf.uint8, inference_output_type=tf.uint8), None),
}


def main() -> None:
    directory = Path(sys.argv[1])
    for name, (content, card) in TFLITE_MODELS.items():
        (directory / name / "1").mkdir(parents=True)
        (directory / name / "1" / "model.tflite").write_bytes(content())
        write_card(directory, name, card)
    for name, (shape, dtype, compute, card) in MODELS.items():
        module = tf.Module()
        module.serve = tf.function(compute, input_signature=[tf.TensorSpec(shape, dtype, name="x")])
        tf.saved_model.save(module, str(directory / name / "1"), signatures=module.serve)
        write_card(directory, name, card)
    names = (*TFLITE_MODELS, *MODELS)
    entries = (f'config {{ name: "{name}" base_path: "{directory / name}"{PLATFORM} }}' for name in names)
    (directory / "models.config").write_text(f"model_config_list {{ {' '.join(entries)} }}", encoding="utf-8")


def write_card(directory: Path, name: str, card: dict[str, Any] | None) -> None:
    if card is not None:
        (directory / name / "card.json").write_text(json.dumps({"name": name, **card}), encoding="utf-8")


if __name__ == "__main__":
    main()
