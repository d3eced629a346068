"""Transfer: first the last layer is trained, then the configured layers, and never the batch statistics."""

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


class InterruptedRunError(Exception):
    pass


def interrupt_at(count: int) -> OnStep:
    def on_step(step: Step) -> None:
        if step.done == count:
            raise InterruptedRunError

    return on_step


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """MobileNetV2 on 32 x 32 pixels: two epochs of two steps for the last layer, two more for those from FIRST on."""
    document = yaml.safe_load(WEATHER.read_text())
    document["input"] |= {"height": 32, "width": 32}
    document["model"] = {"kind": "application", "name": "MobileNetV2", "dropout": 0.3}
    document["augmentation"] = {"flip": True}
    document["training"] |= {"epochs": 2, "batch_size": 8, "patience": 2}
    document["training"]["transfer"] = {"frozen_epochs": 2, "frozen_learning_rate": 0.01, "fine_tune_from": FIRST}
    return document


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights of MobileNetV2, as Keras publishes weights."""
    network = keras.applications.MobileNetV2(weights=None, include_top=False)
    return save_as_published(network, tmp_path_factory.mktemp("weights") / "mobilenet.h5")


def read_weights(trainer: Trainer) -> dict[str, np.ndarray]:
    return {weight.path: np.array(weight) for weight in trainer.weights}


def changed_layers(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    """Return the names of the layers whose weights differ."""
    return {path.split("/")[-2] for path in before if not np.array_equal(before[path], after[path])}


def test_the_last_layer_is_trained_first_then_those_from_the_configured_one(document: dict[str, Any], published: Path):
    trainer = Trainer(TrainingConfig.model_validate(document), steps=2)
    trainer.load_published(published)

    assert (trainer.frozen_epochs, trainer.epochs) == (2, 4)

    initial = read_weights(trainer)
    features = trainer.features(INPUTS.images)

    assert features.shape == (16, 1280)

    for _ in range(3):
        trainer.step((features, INPUTS.targets), epoch=0)
    frozen = read_weights(trainer)

    assert changed_layers(initial, frozen) == {HEAD}
    np.testing.assert_array_equal(trainer.features(INPUTS.images), features)

    for _ in range(3):
        trainer.step((INPUTS.images, INPUTS.targets), epoch=2)

    assert changed_layers(frozen, read_weights(trainer)) == {
        FIRST,
        HEAD,
    }  # but not the batch normalisation between them


def with_transfer(document: dict[str, Any], transfer: dict[str, Any], **training: Any) -> TrainingConfig:
    """Return the configuration with changes of `training` and of `training.transfer`."""
    transfer = document["training"]["transfer"] | transfer
    return TrainingConfig.model_validate(
        document | {"training": document["training"] | training | {"transfer": transfer}}
    )


def test_each_stage_trains_the_layers_from_its_own_on(document: dict[str, Any]):
    stages = [{"epochs": 1, "learning_rate": 0.01, "fine_tune_from": HEAD}]
    trainer = Trainer(with_transfer(document, {"stages": stages}), steps=2)

    assert (trainer.frozen_epochs, trainer.epochs) == (2, 5)

    initial = read_weights(trainer)
    for _ in range(3):
        trainer.step((INPUTS.images, INPUTS.targets), epoch=2)
    first = read_weights(trainer)
    for _ in range(3):
        trainer.step((INPUTS.images, INPUTS.targets), epoch=3)

    assert changed_layers(initial, first) == {HEAD}
    assert changed_layers(first, read_weights(trainer)) == {FIRST, HEAD}


def test_the_pretrained_layers_learn_more_slowly_by_a_factor(document: dict[str, Any], published: Path):
    def change(factor: float) -> dict[str, float]:
        transfer = {"backbone_learning_rate_factor": factor}
        config = with_transfer(document, transfer, optimizer="sgd", learning_rate=0.1, warmup_epochs=0)
        trainer = Trainer(config, steps=2)
        trainer.load_published(published)
        before = read_weights(trainer)
        trainer.step((INPUTS.images, INPUTS.targets), epoch=2)
        after = read_weights(trainer)
        kernels = {path.split("/")[-2]: path for path in before if path.endswith("kernel")}
        return {name: float(np.abs(after[kernels[name]] - before[kernels[name]]).max()) for name in (FIRST, HEAD)}

    alike, slower = change(1.0), change(0.1)

    assert slower[HEAD] == pytest.approx(alike[HEAD], rel=1e-3)
    assert slower[FIRST] == pytest.approx(0.1 * alike[FIRST], rel=1e-2)


def test_metrics_of_features_equal_those_of_their_images(document: dict[str, Any]):
    trainer = Trainer(TrainingConfig.model_validate(document), steps=2)
    feature_metrics = trainer.validate(iter([(trainer.features(INPUTS.images), INPUTS.targets)]), epoch=0)
    image_metrics = trainer.validate(iter([(INPUTS.images, INPUTS.targets)]), epoch=2)

    assert feature_metrics == pytest.approx(image_metrics, rel=1e-4)


def test_an_unknown_layer_is_refused_with_the_nearest_name(document: dict[str, Any]):
    config = with_transfer(document, {"fine_tune_from": "Conv1_"})

    with pytest.raises(TrainError, match="no layer 'Conv1_'; the nearest name is 'Conv1'") as raised:
        Trainer(config, steps=2)

    names = str(raised.value).partition("', then ")[2].split(", ")
    assert len(names) == 9
    assert "Conv1_relu" in names


@pytest.mark.timeout(600)  # it builds eight networks
def test_a_transfer_resumed_twice_ends_with_the_same_weights(document: dict[str, Any], published: Path, tmp_path: Path):
    stages = [{"epochs": 1, "learning_rate": 0.01, "fine_tune_from": HEAD}]
    transfer = {"stages": stages, "backbone_learning_rate_factor": 0.5}
    config = with_transfer(document, transfer, epochs=1, ema_momentum=0.5)
    uninterrupted = fit(config, INPUTS, INPUTS, tmp_path / "uninterrupted", lambda _: None, weights=published)

    for step in (3, 7):  # within the frozen epochs, and after them
        with pytest.raises(InterruptedRunError):
            fit(config, INPUTS, INPUTS, tmp_path / "resumed", interrupt_at(step), resume=step > 3, weights=published)

    resumed = fit(config, INPUTS, INPUTS, tmp_path / "resumed", lambda _: None, resume=True)

    for actual, expected in zip(resumed.get_weights(), uninterrupted.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)
