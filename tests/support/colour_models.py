"""Write models that classify by colour and have what the committed ones lack: versions, labels, heat maps.

`colours` returns which of red, green and blue dominates an image, in two versions, with explanations, and is not sure
of one without a majority. `lights` returns all of them that exceed their thresholds, without explanations.

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
ABSTAIN_BELOW = 0.5
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
    """Return the card of a version."""
    description = f"Version {version} tells colours apart."
    common = {"name": name, "title": name.title(), "description": description, "labels": LABELS}
    if name == "lights":
        common |= {"task": "multilabel", "threshold": THRESHOLDS}
    else:
        common |= {"abstain_below": ABSTAIN_BELOW}
    return Card(**common, input=InputSpec(height=SIDE, width=SIDE))


class Colours(tf.Module):
    """Scores each channel by its share or its lightness, and explains a class by the channel's pixels."""

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
    """Convert lightness float32[N, 3] of the channels to shares that sum to 1."""
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
