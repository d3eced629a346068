"""The training loop: batches, epochs, and the files of a run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.config.optimization import Monitor
from train.config.run_names import MODEL_FILE
from train.config.training_config import TrainingConfig
from train.data.examples import Inputs, Predict
from train.data.whole_file import replace_file
from train.errors import TrainError
from train.training.checkpoint import load_checkpoint, save_checkpoint
from train.training.log import LOG_FILE, Log
from train.training.sampling import epoch_order, set_class_weights
from train.training.stopping import EarlyStopping
from train.training.trainer import Batch, Metrics, Trainer
from train.training.weights_record import record_weights


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a run.

    Attributes:
        done: Number of completed steps.
        total: Number of all steps.
        epoch: Number of completed epochs.
        epochs: Number of all epochs.
        metrics: Loss and accuracy of the epoch so far; after its last step also the metrics of the validation images.
    """

    done: int
    total: int
    epoch: int
    epochs: int
    metrics: Metrics

    @property
    def completes_epoch(self) -> bool:
        """Whether the last completed epoch has just ended."""
        return self.done * self.epochs == self.epoch * self.total


OnStep: TypeAlias = Callable[[Step], None]


def fit(  # noqa: PLR0913  # the last two are command line options
    config: TrainingConfig,
    train: Inputs,
    validation: Inputs,
    run: Path,
    on_step: OnStep,
    *,
    resume: bool = False,
    weights: Path | None = None,
) -> keras.Model:
    """Train a new classifier.

    After each epoch, its metrics are logged in `run` and a checkpoint is saved. A stage that ends early leaves out its
    remaining epochs, and the next one keeps its numbers. At the end, the classifier is saved as
    `MODEL_FILE`. Nothing is written before the network, its initial weights and the checkpoint are loaded.

    Args:
        config: Configuration of the run.
        train: Images to train on, in an order drawn with the configuration's seed.
        validation: Images to evaluate after each epoch.
        run: Folder of the run; created if it is missing.
        on_step: Called after each step and each epoch.
        resume: Continue from the checkpoint in `run`, if there is one. The result equals that of an uninterrupted run.
        weights: File of the initial weights, instead of the configuration's.

    Returns:
        A model from float32[N, H, W, C] of 0..255 to probabilities float32[N, K].

    Raises:
        TrainError: There are fewer training images than one batch takes, the initial weights are unavailable, the
            checkpoint belongs to another network, or the loss is no longer finite.
        OSError: A file cannot be written.
    """
    tf.config.experimental.enable_op_determinism()
    steps = len(train.images) // config.training.batch_size
    if steps == 0:
        raise TrainError(
            f"training.batch_size: {config.training.batch_size} is more than the {len(train.images)} training images"
        )
    config = set_class_weights(config, train.targets)
    trainer = Trainer(config, steps)
    first = load_checkpoint(run, trainer.state) if resume else 0
    if not first:
        trainer.load_published(weights)
    run.mkdir(parents=True, exist_ok=True)
    if not first:
        record_weights(run, config.model, weights)
    log = Log(run, config, first)
    stopping = _make_stopping(run, config, trainer, log, first)
    image_parts = [(part.images, part.targets) for part in (train, validation)]
    feature_parts = [
        (trainer.features(images), targets) for images, targets in image_parts if first < trainer.frozen_epochs
    ]
    epoch = first
    while epoch < trainer.epochs:
        train_part, validation_part = feature_parts if epoch < trainer.frozen_epochs else image_parts
        metrics = _run_epoch(config, trainer, epoch, train_part, on_step)
        with trainer.averaged_weights(epoch):
            metrics = {**metrics, **trainer.validate(_batches(validation_part, config.training.batch_size), epoch)}
            log.write(epoch, {"learning_rate": trainer.learning_rate(epoch), **metrics})
            if epoch >= trainer.frozen_epochs:
                stopping.record(metrics[config.training.monitor], trainer.weights)
        next_epoch, stage = epoch + 1, trainer.stage_epochs(epoch)
        if stopping.should_stop or next_epoch == stage.stop:
            next_epoch = stage.stop
            stopping.end_stage(trainer.weights)
        save_checkpoint(run, next_epoch, trainer.state)
        on_step(Step((epoch + 1) * steps, steps * trainer.epochs, epoch + 1, trainer.epochs, metrics))
        epoch = next_epoch
    classifier = trainer.classifier()
    with replace_file(run / MODEL_FILE) as temporary:
        classifier.save(temporary)
    return classifier


def predictor(model: keras.Model) -> Predict:
    """Wrap a classifier as returned by `fit` in the interface `Predict`.

    It runs as a graph, which frees features once they are used: half the memory and time of a layer-by-layer run.
    """
    forward = tf.function(lambda images: model(tf.cast(images, tf.float32), training=False), reduce_retracing=True)

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.asarray(forward(tf.constant(images)).numpy(), np.float32)

    return predict


def _make_stopping(run: Path, config: TrainingConfig, trainer: Trainer, log: Log, first: int) -> EarlyStopping:
    """Create the early stopping of a run that starts or is resumed with the epoch `first`."""
    monitor, patience = config.training.monitor, config.training.patience
    if patience is None or not first:
        return EarlyStopping(run, patience, [], _mode(monitor))
    values, stage = log.values(monitor), trainer.stage_epochs(first)
    if not {0, *range(stage.start, first)} <= values.keys():
        raise TrainError(
            f"{run / LOG_FILE} lacks lines of finished epochs, by which training.patience decides; restore it, or start"
            " another run without --resume"
        )
    monitored = [value for epoch, value in values.items() if epoch >= trainer.frozen_epochs]
    current = sum(epoch >= max(stage.start, trainer.frozen_epochs) for epoch in values)
    return EarlyStopping(run, patience, monitored, _mode(monitor), len(monitored) - current)


def _mode(monitor: Monitor) -> Literal["min", "max"]:
    return "min" if monitor == "val_loss" else "max"


def _run_epoch(config: TrainingConfig, trainer: Trainer, epoch: int, train: Batch, on_step: OnStep) -> Metrics:
    order = epoch_order(train[1], config, epoch)
    steps = len(order) // config.training.batch_size
    batches = _batches(train, config.training.batch_size, order[: steps * config.training.batch_size])
    metrics: Metrics = {}
    for done, batch in enumerate(batches, epoch * steps + 1):
        metrics = trainer.step(batch, epoch)
        on_step(Step(done, steps * trainer.epochs, epoch, trainer.epochs, metrics))
    return metrics


def _batches(values: Batch, size: int, order: npt.NDArray[np.int64] | None = None) -> Iterator[Batch]:
    inputs, targets = values
    if order is None:
        order = np.arange(len(inputs))
    for start in range(0, len(order), size):
        indices = order[start : start + size]
        yield inputs[indices], targets[indices]
