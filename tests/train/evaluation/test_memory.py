"""The memory of an evaluation depends on the network and the size of its images, not on their number."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
MAX_GROWTH_MB = 400
"""One batch of all images would take 870 MB."""
EVALUATION = """
import resource
import keras
import numpy as np
from keras import layers
from train.data.examples import Inputs
from train.evaluation.evaluate import evaluate
from train.training.loop import predictor

image = keras.Input((224, 224, 3))
features = image
for _ in range(10):
    features = layers.Conv2D(64, 1, activation="relu")(features)
network = keras.Model(image, layers.Softmax()(layers.Dense(2)(layers.GlobalAveragePooling2D()(features))))
predict = predictor(network)
predict(np.zeros((1, 224, 224, 3), np.uint8))

def peak_kb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak_kb()
evaluate(predict, Inputs(np.zeros((32, 224, 224, 3), np.uint8), np.eye(2, dtype=np.float32)[np.zeros(32, int)]))
print((peak_kb() - before) // 1000)
"""


def test_an_evaluation_of_many_large_images_needs_little_memory():
    done = subprocess.run(
        [sys.executable, "-c", EVALUATION], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < MAX_GROWTH_MB
