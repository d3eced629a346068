"""Write models that look at colour alone and have what the committed ones have not: versions, labels, heat maps.

`colours` says which of red, green and blue a picture has most of, in two versions, and can show where. `lights` says
which of them shine in it, any number of them, each from a threshold of its own, and cannot.

python -m tests.support.colour_models DIR
"""

import sys
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from vision.card import Card, InputSpec

SIDE = 8
LABELS = ("red", "green", "blue")
THRESHOLDS = (0.2, 0.5, 0.9)
CONFIG = """
model_config_list {{
  config {{
    name: "colours" base_path: "{0}/colours" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: 1 }}
    version_labels {{ key: "canary" value: 2 }}
  }}
  config {{ name: "lights" base_path: "{0}/lights" model_platform: "tensorflow" }}
}}
"""


def card(name: str, version: int) -> Card:
    """Make the card of a version."""
    described = f"Version {version} tells colours apart."
    common = {"name": name, "title": name.title(), "description": described, "labels": LABELS}
    if name == "lights":
        common |= {"task": "multilabel", "threshold": THRESHOLDS}
    return Card(**common, input=InputSpec(height=SIDE, width=SIDE))


class Colours(tf.Module):
    """Gives each channel's share, or its lightness, and its pixels for an explanation."""

    def __init__(self, card: Card, scores: Callable[[tf.Tensor], tf.Tensor]) -> None:
        super().__init__()
        self.card = card.to_json()
        self.scores = scores

    @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], tf.uint8, name="image")])
    def classify(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": self.scores(tf.reduce_mean(tf.cast(image, tf.float32) / 255, axis=[1, 2]))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="index")])
    def describe(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"card": tf.fill(tf.shape(index), self.card)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, SIDE, SIDE, 3], tf.uint8, name="image"),
            tf.TensorSpec([None], tf.int32, name="class_id"),
        ]
    )
    def explain(self, image: tf.Tensor, class_id: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"heatmap": tf.gather(tf.cast(image, tf.float32) / 255, class_id, axis=3, batch_dims=1)}


def shares(lightness: tf.Tensor) -> tf.Tensor:
    """Turn lightness float32[N, 3] of the channels into shares that sum to one."""
    return (lightness + 1e-3) / tf.reduce_sum(lightness + 1e-3, axis=1, keepdims=True)


def main() -> None:
    directory = Path(sys.argv[1])
    for version in (1, 2):
        colours = Colours(card("colours", version), shares)
        signatures = {"serving_default": colours.classify, "describe": colours.describe, "explain": colours.explain}
        tf.saved_model.save(colours, str(directory / "colours" / str(version)), signatures=signatures)
    lights = Colours(card("lights", 1), tf.identity)
    signatures = {"serving_default": lights.classify, "describe": lights.describe}
    tf.saved_model.save(lights, str(directory / "lights" / "1"), signatures=signatures)
    (directory / "models.config").write_text(CONFIG.format(directory), encoding="utf-8")


if __name__ == "__main__":
    main()
