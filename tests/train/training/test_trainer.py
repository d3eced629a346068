"""Transfer: the last layer learns first, then what the configuration says, and never the statistics."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from tests.support.published_weights import save_as_published
from train.config.training_config import TrainingConfig
from train.data.examples import Inputs
from train.errors import TrainError
from train.networks.build import HEAD
from train.training.loop import OnStep, Step, fit
from train.training.trainer import Trainer

WEATHER = Path(__file__).parents[3] / "train/configs/weather.yaml"
FIRST = "Conv_1"
INPUTS = Inputs(
    np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8), np.eye(4, dtype=np.float32)[np.arange(16) % 4]
)


class BrokenOffError(Exception):
    pass


def break_off_at(count: int) -> OnStep:
    def on_step(step: Step) -> None:
        if step.done == count:
            raise BrokenOffError

    return on_step


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """MobileNetV2 on 32 x 32 pixels: two epochs of two steps for the last layer, two more for those from FIRST on."""
    found = yaml.safe_load(WEATHER.read_text())
    found["input"] |= {"height": 32, "width": 32}
    found["augmentation"] = {"flip": True}
    found["training"] |= {"epochs": 2, "batch_size": 8, "patience": 2}
    found["training"]["transfer"] = {"frozen_epochs": 2, "frozen_learning_rate": 0.01, "fine_tune_from": FIRST}
    return found


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of MobileNetV2 as Keras publishes them; nobody trained these."""
    network = keras.applications.MobileNetV2(weights=None, include_top=False)
    return save_as_published(network, tmp_path_factory.mktemp("weights") / "mobilenet.h5")


def values(trainer: Trainer) -> dict[str, np.ndarray]:
    return {weight.path: np.array(weight) for weight in trainer.weights}


def changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    """Names of the layers that differ."""
    return {path.split("/")[-2] for path in before if not np.array_equal(before[path], after[path])}


def test_the_last_layer_learns_first_then_those_from_the_one_named(document: dict[str, Any], published: Path):
    trainer = Trainer(TrainingConfig.model_validate(document), steps=2)
    trainer.load_published(published)
    assert (trainer.frozen_epochs, trainer.epochs) == (2, 4)
    start = values(trainer)
    features = trainer.features(INPUTS.images)
    assert features.shape == (16, 1280)
    for _ in range(3):
        trainer.step((features, INPUTS.targets), epoch=0)
    frozen = values(trainer)
    assert changed(start, frozen) == {HEAD}
    np.testing.assert_array_equal(trainer.features(INPUTS.images), features)
    for _ in range(3):
        trainer.step((INPUTS.images, INPUTS.targets), epoch=2)
    assert changed(frozen, values(trainer)) == {FIRST, HEAD}  # and not the normalisation between them


def test_figures_of_features_are_those_of_their_images(document: dict[str, Any]):
    trainer = Trainer(TrainingConfig.model_validate(document), steps=2)
    of_features = trainer.validate(iter([(trainer.features(INPUTS.images), INPUTS.targets)]), epoch=0)
    of_images = trainer.validate(iter([(INPUTS.images, INPUTS.targets)]), epoch=2)
    assert of_features == pytest.approx(of_images, rel=1e-4)


def test_a_layer_that_there_is_not_is_refused_with_the_nearest(document: dict[str, Any]):
    transfer = document["training"]["transfer"] | {"fine_tune_from": "Conv1_"}
    config = TrainingConfig.model_validate(document | {"training": document["training"] | {"transfer": transfer}})
    with pytest.raises(TrainError, match="no layer 'Conv1_'; the nearest name is 'Conv1'"):
        Trainer(config, steps=2)


@pytest.mark.timeout(600)  # eight networks are made
def test_a_transfer_that_is_broken_off_twice_ends_with_the_same_weights(
    document: dict[str, Any], published: Path, tmp_path: Path
):
    config = TrainingConfig.model_validate(document)
    unbroken = fit(config, INPUTS, INPUTS, tmp_path / "unbroken", lambda _: None, weights=published)
    for step in (3, 7):  # while the last layer learns alone, and after that
        with pytest.raises(BrokenOffError):
            fit(config, INPUTS, INPUTS, tmp_path / "broken", break_off_at(step), resume=step > 3, weights=published)
    resumed = fit(config, INPUTS, INPUTS, tmp_path / "broken", lambda _: None, resume=True)
    for found, wanted in zip(resumed.get_weights(), unbroken.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)
