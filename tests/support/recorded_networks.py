"""Networks whose class scores PyTorch computed, from `tests/train/recorded/torch_networks.json.xz`."""

import functools
import json
import lzma
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tests.support.generated_weights import generate_images, generate_weights
from train.importers.torch_networks import network_from_torch

RECORDED = Path(__file__).parents[1] / "train/recorded/torch_networks.json.xz"
"""Written by `record_torch_networks.py` in the same folder."""


@functools.cache
def read_networks() -> Mapping[str, Any]:
    """Return what was recorded of each network, by its library and name: `timm resnet50`."""
    return json.loads(lzma.decompress(RECORDED.read_bytes()))


def recorded_weights(network: str) -> dict[str, np.ndarray]:
    """Return the tensors of a recorded network, generated again."""
    record = read_networks()[network]
    return generate_weights(record["tensors"], record["variances"])


def build_network(network: str) -> keras.Model:
    """Build a recorded network with the project's builders."""
    return network_from_torch(recorded_weights(network), "tf" if " tf_" in network else "plain")


def compute_scores(model: keras.Model) -> np.ndarray:
    """Return float32[N, K] scores of the images that were recorded."""
    return np.asarray(model(generate_images().transpose(0, 2, 3, 1), training=False))


def largest_difference(network: str, model: keras.Model) -> float:
    """Return the largest difference of a score from PyTorch's."""
    return float(np.abs(compute_scores(model) - np.array(read_networks()[network]["scores"])).max())
