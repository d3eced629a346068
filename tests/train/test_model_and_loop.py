"""The network's form, and what a run leaves behind."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from train.config import Config, load_config
from train.errors import TrainError
from train.examples import Inputs
from train.loop import CHECKPOINT_FILE, LOG_FILE, MODEL_FILE, Step, fit, predictor
from train.model import HEAD, POOL, build_augmentation, build_model
from train.run import load_run

DIGITS = Path(__file__).parents[2] / "train/configs/digits.yaml"


def some_inputs(count: int) -> Inputs:
    rng = np.random.default_rng(0)
    return Inputs(rng.integers(0, 256, (count, 28, 28, 1), np.uint8), np.arange(count, dtype=np.int32) % 2)


def test_the_digits_network_is_small_and_ends_as_explanations_need_it():
    config = load_config(DIGITS)
    model = build_model(config.model, config.input, len(config.labels))
    assert model.count_params() < 150_000
    assert model.get_layer(POOL).input.shape == (None, 7, 7, model.get_layer(HEAD).kernel.shape[0])
    assert model.output is model.get_layer(HEAD).output
    probabilities = predictor(model)(some_inputs(3).images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_a_run_leaves_configuration_checkpoint_log_and_network(run: Path, config_path: Path):
    assert (run / "config.yaml").read_bytes() == config_path.read_bytes()
    for name in (CHECKPOINT_FILE, MODEL_FILE):
        assert (run / name).stat().st_size > 0
    header, *epochs = (run / LOG_FILE).read_text().splitlines()
    assert header.split(",") == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert len(epochs) == 2


def test_the_checkpoint_of_the_last_epoch_is_the_network(run: Path):
    config, model = load_run(run)
    fresh = build_model(config.model, config.input, len(config.labels))
    trained = keras.Sequential([build_augmentation(config.augmentation, config.input, config.seed), fresh])
    trained.load_weights(run / CHECKPOINT_FILE)
    for found, wanted in zip(fresh.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_steps_are_reported_and_count_up(config_document: dict[str, Any], tmp_path: Path):
    steps: list[Step] = []
    fit(Config.model_validate(config_document), some_inputs(40), some_inputs(6), tmp_path, steps.append)
    assert [step.done for step in steps] == [1, 2, 2, 3, 4, 4]
    assert {step.total for step in steps} == {4}
    assert [step.epoch for step in steps] == [0, 0, 1, 1, 1, 2]
    assert set(steps[-1].figures) == {"loss", "accuracy", "val_loss", "val_accuracy"}


def test_the_same_seed_trains_the_same_network(config_document: dict[str, Any], tmp_path: Path):
    config = Config.model_validate(config_document)
    once, again = (
        fit(config, some_inputs(40), some_inputs(6), tmp_path / name, lambda _: None).get_weights() for name in "ab"
    )
    for first, second in zip(once, again, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-6)


def test_fewer_images_than_a_batch_are_refused_before_anything_is_written(
    config_document: dict[str, Any], tmp_path: Path
):
    run = tmp_path / "run"
    with pytest.raises(TrainError, match="16 is more than the 15 training images"):
        fit(Config.model_validate(config_document), some_inputs(15), some_inputs(6), run, lambda _: None)
    assert not run.exists()


def test_an_unfinished_run_says_what_to_do(config_path: Path, tmp_path: Path):
    (tmp_path / "config.yaml").write_bytes(config_path.read_bytes())
    with pytest.raises(TrainError, match=r"model\.keras does not exist.*python -m train fit"):
        load_run(tmp_path)
