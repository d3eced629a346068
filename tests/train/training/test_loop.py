"""What a run leaves behind, when it stops, and that it goes on after a break as if there had been none."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from train.config.training_config import TrainingConfig
from train.data.examples import Inputs
from train.errors import TrainError
from train.training.checkpoint import CHECKPOINT_FILE, load_checkpoint
from train.training.loop import LOG_FILE, MODEL_FILE, TENSORBOARD_FOLDER, Step, fit, predictor
from train.training.run import load_run
from train.training.stopping import BEST_FILE
from train.training.trainer import Trainer


def some_inputs(count: int) -> Inputs:
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 1), np.uint8)
    return Inputs(images, np.eye(2, dtype=np.float32)[np.arange(count) % 2])


def edited(document: dict[str, Any], **training: object) -> TrainingConfig:
    return TrainingConfig.model_validate(document | {"training": document["training"] | training})


def lines(run: Path) -> list[dict[str, str]]:
    with (run / LOG_FILE).open(newline="") as file:
        return list(csv.DictReader(file))


class BrokenOffError(Exception):
    pass


def break_off_at(count: int):
    def on_step(step: Step) -> None:
        if step.done == count:
            raise BrokenOffError

    return on_step


def test_a_run_leaves_configuration_checkpoint_log_and_network(run: Path, config_path: Path):
    assert (run / "config.yaml").read_bytes() == config_path.read_bytes()
    for name in (CHECKPOINT_FILE, MODEL_FILE):
        assert (run / name).stat().st_size > 0
    assert [line["epoch"] for line in lines(run)] == ["0", "1"]
    assert lines(run)[0].keys() == {"epoch", "accuracy", "loss", "val_accuracy", "val_loss"}


def test_tensorboard_is_told_the_same_as_the_log(run: Path):
    (file,) = (run / TENSORBOARD_FOLDER).iterdir()
    told = {}
    for record in tf.data.TFRecordDataset([str(file)]):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            told[event.step, value.tag] = float(tf.make_ndarray(value.tensor))
    logged = {
        (number, name): pytest.approx(float(value), rel=1e-6)
        for number, line in enumerate(lines(run), 1)
        for name, value in line.items()
        if name != "epoch"
    }
    assert told == logged


def test_the_checkpoint_of_the_last_epoch_is_the_network(run: Path):
    config, model = load_run(run)
    trainer = Trainer(config, steps=4)
    assert load_checkpoint(run, trainer.state) == 2
    for found, wanted in zip(trainer.classifier().get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_steps_are_reported_and_count_up(config_document: dict[str, Any], tmp_path: Path):
    steps: list[Step] = []
    fit(TrainingConfig.model_validate(config_document), some_inputs(40), some_inputs(6), tmp_path, steps.append)
    assert [step.done for step in steps] == [1, 2, 2, 3, 4, 4]
    assert {step.total for step in steps} == {4}
    assert [step.epoch for step in steps] == [0, 0, 1, 1, 1, 2]
    assert set(steps[-1].figures) == {"loss", "accuracy", "val_loss", "val_accuracy"}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"task": "multilabel", "augmentation": {"mix_up": 0.4, "flip": True}},
        {"augmentation": {"blur": 0.5, "noise": 0.05, "cut_mix": 1.0, "jpeg": 0.5}},
        {"training": {"small_images": [[1, 16]], "mixed_precision": True, "optimizer": "muon"}},
    ],
    ids=["plain", "many labels", "changed images", "mixed precision"],
)
def test_a_run_that_is_broken_off_in_an_epoch_ends_with_the_same_weights(
    config_document: dict[str, Any], tmp_path: Path, document: dict[str, Any]
):
    training = config_document["training"] | document.get("training", {})
    config = TrainingConfig.model_validate(config_document | document | {"training": training})
    inputs = some_inputs(48), some_inputs(6)
    unbroken = fit(config, *inputs, tmp_path / "unbroken", lambda _: None)
    with pytest.raises(BrokenOffError):
        fit(config, *inputs, tmp_path / "broken", break_off_at(5))
    resumed = fit(config, *inputs, tmp_path / "broken", lambda _: None, resume=True)
    for found, wanted in zip(resumed.get_weights(), unbroken.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert lines(tmp_path / "broken") == lines(tmp_path / "unbroken")


def test_a_run_stops_when_it_has_been_at_its_best_and_gives_those_weights(
    config_document: dict[str, Any], tmp_path: Path
):
    config = edited(config_document, epochs=30, patience=2, label_smoothing=0.0, learning_rate=0.02)
    train, other = some_inputs(48), some_inputs(12)
    contrary = replace(other, targets=1 - other.targets)  # the more is learnt, the worse
    model = fit(config, train, contrary, tmp_path, lambda _: None)
    losses = [float(line["val_loss"]) for line in lines(tmp_path)]
    assert len(losses) == losses.index(min(losses)) + 3 < 30
    of_right = (predictor(model)(contrary.images) * contrary.targets).sum(axis=1)
    assert -np.log(of_right).mean() == pytest.approx(min(losses), rel=1e-4)
    assert (tmp_path / BEST_FILE).exists()


def test_a_stopped_run_is_not_gone_on_with(config_document: dict[str, Any], tmp_path: Path):
    config = edited(config_document, epochs=30, patience=1, learning_rate=0.02)
    contrary = replace(some_inputs(12), targets=1 - some_inputs(12).targets)
    once = fit(config, some_inputs(48), contrary, tmp_path, lambda _: None).get_weights()
    steps: list[Step] = []
    again = fit(config, some_inputs(48), contrary, tmp_path, steps.append, resume=True).get_weights()
    assert not steps
    for found, wanted in zip(again, once, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_mixed_precision_is_of_the_training_alone(config_document: dict[str, Any], tmp_path: Path):
    config = edited(config_document, mixed_precision=True, epochs=1)
    model = fit(config, some_inputs(16), some_inputs(6), tmp_path, lambda _: None)
    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_a_loss_that_is_no_number_ends_the_run(config_document: dict[str, Any], tmp_path: Path):
    config = edited(config_document, optimizer="sgd", learning_rate=1e30, warmup_epochs=0)
    with pytest.raises(TrainError, match=r"no longer a finite number; try a lower training\.learning_rate"):
        fit(config, some_inputs(48), some_inputs(6), tmp_path, lambda _: None)
    assert not (tmp_path / MODEL_FILE).exists()


def test_fewer_images_than_a_batch_are_refused_before_anything_is_written(
    config_document: dict[str, Any], tmp_path: Path
):
    run = tmp_path / "run"
    with pytest.raises(TrainError, match="16 is more than the 15 training images"):
        fit(TrainingConfig.model_validate(config_document), some_inputs(15), some_inputs(6), run, lambda _: None)
    assert not run.exists()


def test_weights_are_refused_where_none_can_be_taken(config_document: dict[str, Any], tmp_path: Path):
    config = TrainingConfig.model_validate(config_document)
    with pytest.raises(TrainError, match=r"model\.kind: small_cnn does not start from weights"):
        fit(config, some_inputs(16), some_inputs(6), tmp_path, lambda _: None, weights=tmp_path / "some.h5")


def test_an_unfinished_run_says_what_to_do(config_path: Path, tmp_path: Path):
    (tmp_path / "config.yaml").write_bytes(config_path.read_bytes())
    with pytest.raises(TrainError, match=r"model\.keras does not exist.*python -m train fit"):
        load_run(tmp_path)
