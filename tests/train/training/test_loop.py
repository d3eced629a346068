"""Files of a run, early stopping, and resuming, which ends with the weights of an uninterrupted run."""

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from train.config.optimization import Stage, Transfer
from train.config.run_names import MODEL_FILE
from train.config.training_config import TrainingConfig
from train.data.examples import Inputs
from train.errors import TrainError
from train.networks.build import HEAD
from train.training.checkpoint import CheckpointError, load_checkpoint
from train.training.decision_counts import DecisionCounts
from train.training.log import LOG_FILE, TENSORBOARD_FOLDER, Log
from train.training.loop import Step, fit, predictor
from train.training.run import load_run
from train.training.run_folder import CHECKPOINT_FILE
from train.training.stopping import BEST_FILE
from train.training.trainer import Trainer


def make_inputs(count: int) -> Inputs:
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 1), np.uint8)
    return Inputs(images, np.eye(2, dtype=np.float32)[np.arange(count) % 2])


def edit_training(document: dict[str, Any], **training: object) -> TrainingConfig:
    return TrainingConfig.model_validate(document | {"training": document["training"] | training})


def read_log(run: Path) -> list[dict[str, str]]:
    with (run / LOG_FILE).open(newline="") as file:
        return list(csv.DictReader(file))


class InterruptedRunError(Exception):
    pass


def interrupt_at(count: int):
    def on_step(step: Step) -> None:
        if step.done == count:
            raise InterruptedRunError

    return on_step


def test_a_run_writes_configuration_checkpoint_log_and_network(run: Path, config_path: Path):
    assert (run / "config.yaml").read_bytes() == config_path.read_bytes()
    for name in (CHECKPOINT_FILE, MODEL_FILE):
        assert (run / name).stat().st_size > 0
    assert [line["epoch"] for line in read_log(run)] == ["0", "1"]
    assert read_log(run)[0].keys() == {
        "epoch",
        "learning_rate",
        "accuracy",
        "loss",
        *(f"val_{name}" for name in ("accuracy", "balanced_accuracy", "loss", "macro_f1")),
    }


def read_events(folder: Path) -> dict[tuple[int, str], np.ndarray]:
    """Return the values of TensorBoard's files by step and name."""
    return {
        (event.step, value.tag): tf.make_ndarray(value.tensor)
        for file in folder.iterdir()
        for record in tf.data.TFRecordDataset([str(file)])
        for event in [tf.compat.v1.Event.FromString(record.numpy())]
        for value in event.summary.value
    }


def test_tensorboard_shows_the_values_of_the_log_for_both_parts_by_the_same_names(run: Path):
    train, validation = (read_events(run / TENSORBOARD_FOLDER / part) for part in ("train", "validation"))
    configuration = train.pop((0, "configuration")).item().decode()

    for part, names in (
        (train, {"learning_rate", "accuracy", "loss"}),
        (validation, {"accuracy", "balanced_accuracy", "loss", "macro_f1"}),
    ):
        prefix = "val_" if part is validation else ""
        assert part == {
            (number, name): pytest.approx(float(line[prefix + name]), rel=1e-6)
            for number, line in enumerate(read_log(run), 1)
            for name in names
        }
    assert "name: shapes\n" in configuration


def test_the_log_has_the_learning_rate_that_each_epoch_reaches(config_document: dict[str, Any], tmp_path: Path):
    config = edit_training(config_document, epochs=3, warmup_epochs=1, schedule="linear", learning_rate=0.02)

    fit(config, make_inputs(32), make_inputs(6), tmp_path, lambda _: None)

    assert [float(line["learning_rate"]) for line in read_log(tmp_path)] == pytest.approx([0.02, 0.01, 0.0])


def test_a_log_of_an_earlier_version_is_continued_with_its_columns(config_document: dict[str, Any], tmp_path: Path):
    (tmp_path / LOG_FILE).write_bytes(b"epoch,loss,val_loss\r\n0,1.0,2.0\r\n1,0.9,1.9\r\n")

    log = Log(tmp_path, TrainingConfig.model_validate(config_document), first=1)
    log.write(1, {"learning_rate": 0.1, "loss": 0.5, "val_loss": 1.5, "val_macro_f1": 0.8})

    assert log.rows == [{"epoch": "0", "loss": "1.0", "val_loss": "2.0"}]
    assert (tmp_path / LOG_FILE).read_bytes() == b"epoch,loss,val_loss\n0,1.0,2.0\n1,0.5,1.5\n"


def test_the_checkpoint_of_the_last_epoch_is_the_network(run: Path):
    config, model = load_run(run)
    trainer = Trainer(config, steps=4)

    assert load_checkpoint(run, trainer.state) == 2
    for actual, expected in zip(trainer.classifier().get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


def test_steps_are_reported_and_count_up(config_document: dict[str, Any], tmp_path: Path):
    steps: list[Step] = []
    fit(TrainingConfig.model_validate(config_document), make_inputs(40), make_inputs(6), tmp_path, steps.append)

    assert [step.done for step in steps] == [1, 2, 2, 3, 4, 4]
    assert {step.total for step in steps} == {4}
    assert [step.epoch for step in steps] == [0, 0, 1, 1, 1, 2]
    assert {step.epochs for step in steps} == {2}
    assert set(steps[0].metrics) == {"loss", "accuracy"}
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} < set(steps[-1].metrics)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"task": "multilabel", "augmentation": {"mix_up": 0.4, "flip": True}},
        {"augmentation": {"blur": 0.5, "noise": 0.05, "cut_mix": 1.0, "jpeg": 0.5}},
        {"training": {"small_images": [[1, 16]], "mixed_precision": True, "optimizer": "muon"}},
    ],
    ids=["plain", "multilabel", "augmentation", "mixed precision"],
)
def test_a_run_resumed_within_an_epoch_ends_with_the_same_weights(
    config_document: dict[str, Any], tmp_path: Path, document: dict[str, Any]
):
    training = config_document["training"] | document.get("training", {})
    config = TrainingConfig.model_validate(config_document | document | {"training": training})
    inputs = make_inputs(48), make_inputs(6)
    uninterrupted = fit(config, *inputs, tmp_path / "uninterrupted", lambda _: None)

    with pytest.raises(InterruptedRunError):
        fit(config, *inputs, tmp_path / "resumed", interrupt_at(5))

    resumed = fit(config, *inputs, tmp_path / "resumed", lambda _: None, resume=True)

    for actual, expected in zip(resumed.get_weights(), uninterrupted.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert (tmp_path / "resumed" / LOG_FILE).read_bytes() == (tmp_path / "uninterrupted" / LOG_FILE).read_bytes()


def test_a_run_stops_without_progress_and_returns_its_best_weights(config_document: dict[str, Any], tmp_path: Path):
    config = edit_training(config_document, epochs=30, patience=2, label_smoothing=0.0, learning_rate=0.02)
    train, validation = make_inputs(48), make_inputs(12)
    inverted = replace(validation, targets=1 - validation.targets)  # so that training makes the loss worse
    model = fit(config, train, inverted, tmp_path, lambda _: None)
    losses = [float(line["val_loss"]) for line in read_log(tmp_path)]

    assert len(losses) == losses.index(min(losses)) + 3 < 30

    true_probabilities = (predictor(model)(inverted.images) * inverted.targets).sum(axis=1)

    assert -np.log(true_probabilities).mean() == pytest.approx(min(losses), rel=1e-4)
    assert (tmp_path / BEST_FILE).exists()


def test_a_stage_without_progress_is_followed_by_the_next_one_with_the_best_weights(
    config_document: dict[str, Any], tmp_path: Path
):
    stages = (Stage(epochs=5, learning_rate=0.01, fine_tune_from=HEAD),)
    transfer = Transfer(frozen_epochs=1, frozen_learning_rate=0.01, stages=stages, fine_tune_from=HEAD)
    config = edit_training(config_document, epochs=5, patience=1, learning_rate=0.01, label_smoothing=0.0)
    config = config.model_copy(update={"training": config.training.model_copy(update={"transfer": transfer})})
    targets = make_inputs(48).targets
    brightness = np.where(targets[:, 0] == 1, 220, 20).astype(np.uint8)
    train = Inputs(np.broadcast_to(brightness[:, None, None, None], (48, 28, 28, 1)), targets)
    inverted = replace(train, targets=1 - targets)  # so that training makes the loss worse

    with pytest.raises(InterruptedRunError):
        fit(config, train, inverted, tmp_path, interrupt_at(6 * 3 + 1))  # in the first epoch of the last stage
    model = fit(config, train, inverted, tmp_path, lambda _: None, resume=True)

    losses = {int(line["epoch"]): float(line["val_loss"]) for line in read_log(tmp_path)}
    assert list(losses) == [0, 1, 2, 6, 7]
    true_probabilities = (predictor(model)(inverted.images) * inverted.targets).sum(axis=1)
    assert -np.log(true_probabilities).mean() == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(("monitor", "task"), [("val_macro_f1", "multiclass"), ("val_micro_f1", "multilabel")])
def test_early_stopping_keeps_the_weights_of_the_highest_monitored_metric(
    config_document: dict[str, Any], tmp_path: Path, monitor: str, task: str
):
    config = edit_training(config_document | {"task": task}, epochs=30, patience=3, learning_rate=0.02, monitor=monitor)
    train, validation = make_inputs(48), make_inputs(12)
    inverted = replace(validation, targets=1 - validation.targets)  # so that training makes the metric worse
    model = fit(config, train, inverted, tmp_path, lambda _: None)
    values = [float(line[monitor]) for line in read_log(tmp_path)]

    assert len(values) == values.index(max(values)) + 4 < 30

    counts = DecisionCounts(config.task, 2)
    counts.add(predictor(model)(inverted.images) - 0.5, inverted.targets)

    assert counts.metrics()[monitor.removeprefix("val_")] == pytest.approx(max(values))


def test_a_stopped_run_is_not_continued(config_document: dict[str, Any], tmp_path: Path):
    config = edit_training(config_document, epochs=30, patience=1, learning_rate=0.02)
    inverted = replace(make_inputs(12), targets=1 - make_inputs(12).targets)
    first = fit(config, make_inputs(48), inverted, tmp_path, lambda _: None).get_weights()
    steps: list[Step] = []
    again = fit(config, make_inputs(48), inverted, tmp_path, steps.append, resume=True).get_weights()

    assert not steps
    for actual, expected in zip(again, first, strict=True):
        np.testing.assert_array_equal(actual, expected)


def interrupt_and_damage_log(config: TrainingConfig, run: Path, content: str | None) -> None:
    """Train one epoch and a part of the next one, then replace the log, or delete it."""
    with pytest.raises(InterruptedRunError):
        fit(config, make_inputs(48), make_inputs(6), run, interrupt_at(4))
    (run / LOG_FILE).unlink()
    if content is not None:
        (run / LOG_FILE).write_text(content)


def test_a_run_whose_log_was_deleted_is_continued_and_logs_what_follows(
    config_document: dict[str, Any], tmp_path: Path
):
    config = TrainingConfig.model_validate(config_document)
    interrupt_and_damage_log(config, tmp_path, None)

    fit(config, make_inputs(48), make_inputs(6), tmp_path, lambda _: None, resume=True)

    assert [row["epoch"] for row in read_log(tmp_path)] == ["1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "lacks lines of finished epochs, by which training.patience decides"),
        ("epoch,val_loss\n", "lacks lines of finished epochs"),
        ("epoch,val_loss\n0,low\n", "is damaged; restore it"),
        ("epoch,val_loss\n0\n", "is damaged"),
        ("0,0.5\n1,0.4\n", "is damaged"),
    ],
)
def test_early_stopping_is_not_continued_without_its_log(
    config_document: dict[str, Any], tmp_path: Path, content: str | None, message: str
):
    config = edit_training(config_document, patience=1)
    interrupt_and_damage_log(config, tmp_path, content)

    with pytest.raises(TrainError, match=re.escape(message)):
        fit(config, make_inputs(48), make_inputs(6), tmp_path, lambda _: None, resume=True)


def test_mixed_precision_applies_only_to_training(config_document: dict[str, Any], tmp_path: Path):
    config = edit_training(config_document, mixed_precision=True, epochs=1)
    model = fit(config, make_inputs(16), make_inputs(6), tmp_path, lambda _: None)

    assert {weight.dtype for weight in model.weights} == {"float32"}
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def test_a_loss_that_is_not_finite_ends_the_run(config_document: dict[str, Any], tmp_path: Path):
    config = edit_training(config_document, optimizer="sgd", learning_rate=1e30, warmup_epochs=0)

    with pytest.raises(TrainError, match=r"no longer a finite number; try a lower training\.learning_rate"):
        fit(config, make_inputs(48), make_inputs(6), tmp_path, lambda _: None)

    assert not (tmp_path / MODEL_FILE).exists()


def test_fewer_images_than_a_batch_are_refused_before_anything_is_written(
    config_document: dict[str, Any], tmp_path: Path
):
    run = tmp_path / "run"

    with pytest.raises(TrainError, match="16 is more than the 15 training images"):
        fit(TrainingConfig.model_validate(config_document), make_inputs(15), make_inputs(6), run, lambda _: None)

    assert not run.exists()


def test_weights_are_refused_for_a_network_without_published_weights(config_document: dict[str, Any], tmp_path: Path):
    config = TrainingConfig.model_validate(config_document)

    with pytest.raises(TrainError, match=r"model\.kind: small_cnn has no published weights; remove --weights"):
        fit(config, make_inputs(16), make_inputs(6), tmp_path, lambda _: None, weights=tmp_path / "some.h5")


def test_an_unfinished_run_is_reported_with_advice(config_path: Path, tmp_path: Path):
    (tmp_path / "config.yaml").write_bytes(config_path.read_bytes())

    with pytest.raises(TrainError, match=r"model\.keras does not exist.*python -m train fit CONFIG --resume"):
        load_run(tmp_path)


@pytest.mark.parametrize("size", [0, 1000])
def test_damaged_files_of_a_run_are_named(own_run: Path, size: int):
    for name in (CHECKPOINT_FILE, MODEL_FILE):
        (own_run / name).write_bytes((own_run / name).read_bytes()[:size])

    with pytest.raises(CheckpointError, match=r"checkpoint\.npz is damaged; delete it"):
        load_checkpoint(own_run, [])
    with pytest.raises(TrainError, match=r"model\.keras is damaged or cannot be read; .*shapes --resume"):
        load_run(own_run)
