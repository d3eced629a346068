"""The memory of an export is a small multiple of the network's weights."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
MAX_COPIES = 18
"""It takes 13 times the weights. With the weights in every graph that is traced, saved and loaded it would be 31."""
EXPORT = """
import resource
import sys
from pathlib import Path
import cv2
import keras
import numpy as np
from keras import layers
from train.data.examples import Example
from train.export.export import export_network
from train.export.frozen_network import freeze_model
from train.training.loop import predictor
from vision.card import Card, InputSpec

def export(units):
    image = keras.Input((8, 8, 3))
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(1024, 1)(image))
    for _ in range(6):
        features = layers.Dense(units, activation="relu")(features)
    network = keras.Model(image, layers.Softmax()(layers.Dense(2)(features)))
    card = Card(name="large", labels=("no", "yes"), input=InputSpec(height=8, width=8))
    golden = Example(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes(), (0,))
    export_network(freeze_model(network, card.input), card, [golden], Path(sys.argv[1]), predictor(network))
    return network.count_params() * 4, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

_, before = export(16)
weights, after = export(1280)
print((after - before) / weights)
"""


def test_an_export_needs_little_more_memory_than_its_weights(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", EXPORT, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < MAX_COPIES
