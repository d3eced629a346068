"""Calibration does no harm to classifiers of photos: a new last layer on a pretrained network, on many splits."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.support.calibration_splits import measure_calibration, train_on_splits
from train.data.examples import Example, to_inputs
from vision.card import InputSpec

SHARED = Path(__file__).parents[3] / "../shared/data"
PHOTOS = SHARED / "weather4"
WEIGHTS = SHARED / "weights/mobilenet_v2_1.0_224/mobilenet_v2_1.0_224_from_int8_f16.h5"
SIDE = 96  # a fifth of the time of 224
BATCH = 64


def compute_features() -> tuple[np.ndarray, np.ndarray]:
    """Return float32[N, F] features of the photos, and their classes."""
    folders = sorted(path for path in PHOTOS.iterdir() if path.is_dir())
    examples = [Example(path, (number,)) for number, folder in enumerate(folders) for path in sorted(folder.iterdir())]
    spec = InputSpec(height=SIDE, width=SIDE, resize="stretch", interpolation="area")
    inputs = to_inputs(examples, spec, len(folders))
    published = keras.applications.MobileNetV2(weights=WEIGHTS)
    network = keras.applications.MobileNetV2((SIDE, SIDE, 3), include_top=False, pooling="avg", weights=None)
    network.set_weights(published.get_weights()[: len(network.get_weights())])
    features = network.predict(inputs.images / np.float32(127.5) - 1, BATCH, verbose=0)
    return features[:, ::5], inputs.targets.argmax(axis=1)  # a fifth of the features is as good here, and faster


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="../shared/data/weather4 is not here")
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="../shared/data/weights is not here")
def test_calibrating_classifiers_of_photos_does_no_harm():
    effect = measure_calibration(train_on_splits(*compute_features(), splits=30, learning_rate=0.01, dropout=0.3))

    assert effect.worse <= 15
    assert effect.log_loss < 0
    assert effect.calibration_error <= 0
