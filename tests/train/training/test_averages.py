"""Moving averages of the weights are what is validated, saved as the best, handed on to the next stage and returned."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from train.config.training_config import TrainingConfig
from train.data.examples import Inputs
from train.training.loop import Step, fit
from train.training.trainer import Trainer

MOMENTUM = 0.75
INPUTS = Inputs(
    np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), np.uint8), np.eye(2, dtype=np.float32)[np.arange(8) % 2]
)
BATCH = (INPUTS.images, INPUTS.targets)


class InterruptedRunError(Exception):
    pass


def configure(document: dict[str, Any], **training: Any) -> TrainingConfig:
    """Return the configuration of a run of two epochs of two steps."""
    changes = {"epochs": 2, "batch_size": 4, "warmup_epochs": 0, "ema_momentum": MOMENTUM, **training}
    return TrainingConfig.model_validate(document | {"training": document["training"] | changes})


def trained_values(trainer: Trainer) -> list[np.ndarray]:
    return [np.array(weight) for weight in trainer.weights if weight.trainable]


def assert_close(actual: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for values, others in zip(actual, expected, strict=True):
        np.testing.assert_allclose(values, others, rtol=1e-5, atol=1e-7)


def test_within_the_block_weights_are_the_average_of_the_steps(config_document: dict[str, Any]):
    trainer = Trainer(configure(config_document), steps=2)
    trainer.step(BATCH, epoch=0)
    average = trained_values(trainer)
    for _ in range(3):
        trainer.step(BATCH, epoch=0)
        pairs = zip(average, trained_values(trainer), strict=True)
        average = [MOMENTUM * old + (1 - MOMENTUM) * new for old, new in pairs]
    latest = trained_values(trainer)

    with trainer.averaged_weights(epoch=0):
        assert_close(trained_values(trainer), average)

    assert_close(trained_values(trainer), latest)
    assert np.abs(latest[0] - average[0]).max() > 1e-4


def test_after_the_last_epoch_the_average_stays(config_document: dict[str, Any]):
    trainer = Trainer(configure(config_document), steps=2)
    for _ in range(3):
        trainer.step(BATCH, epoch=1)

    with trainer.averaged_weights(epoch=1):
        average = trained_values(trainer)

    assert_close(trained_values(trainer), average)


def test_without_averages_nothing_changes(config_document: dict[str, Any]):
    trainer = Trainer(configure(config_document, ema_momentum=0.0), steps=2)
    trainer.step(BATCH, epoch=0)
    weights = trained_values(trainer)

    with trainer.averaged_weights(epoch=0):
        assert_close(trained_values(trainer), weights)


@pytest.mark.parametrize("patience", [None, 1], ids=["last weights", "best weights"])
def test_the_result_is_what_was_validated(config_document: dict[str, Any], tmp_path: Path, patience: int | None):
    config = configure(config_document, epochs=1, patience=patience)
    metrics: dict[str, float] = {}
    model = fit(config, INPUTS, INPUTS, tmp_path, lambda step: metrics.update(step.metrics))

    probabilities = np.asarray(model(INPUTS.images.astype(np.float32)))[INPUTS.targets == 1]
    share = config.training.label_smoothing / 2
    loss = -((1 - share) * np.log(probabilities) + share * np.log(1 - probabilities)).mean()
    assert metrics["val_loss"] == pytest.approx(loss, rel=1e-4)


def test_a_resumed_run_ends_with_the_same_averages(config_document: dict[str, Any], tmp_path: Path):
    config = configure(config_document)
    uninterrupted = fit(config, INPUTS, INPUTS, tmp_path / "uninterrupted", lambda _: None)

    def interrupt(step: Step) -> None:
        if step.done == 3:
            raise InterruptedRunError

    with pytest.raises(InterruptedRunError):
        fit(config, INPUTS, INPUTS, tmp_path / "resumed", interrupt)
    resumed = fit(config, INPUTS, INPUTS, tmp_path / "resumed", lambda _: None, resume=True)

    for actual, expected in zip(resumed.get_weights(), uninterrupted.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)
