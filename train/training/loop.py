"""The training loop: batches, epochs, and the files of a run."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.config.training_config import TrainingConfig
from train.data.examples import Inputs, Predict
from train.errors import TrainError
from train.training.checkpoint import load_checkpoint, save_checkpoint
from train.training.stopping import EarlyStopping
from train.training.trainer import Batch, Metrics, Trainer

MODEL_FILE = "model.keras"
LOG_FILE = "log.csv"
TENSORBOARD_FOLDER = "tensorboard"


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a run.

    Attributes:
        done: Number of completed steps.
        total: Number of all steps.
        epoch: Number of completed epochs.
        metrics: Loss and accuracy of the epoch so far; after its last step also those of the validation images.
    """

    done: int
    total: int
    epoch: int
    metrics: Metrics


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

    After each epoch, a checkpoint is saved in `run`, and the metrics are appended to `LOG_FILE` and for TensorBoard.
    At the end, the classifier is saved as `MODEL_FILE`.

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
    trainer = Trainer(config, steps)
    first = load_checkpoint(run, trainer.state) if resume else 0
    if not first:
        trainer.load_published(weights)
    run.mkdir(parents=True, exist_ok=True)
    log = _Log(run, first)
    stopping = EarlyStopping(run, config.training.patience, log.losses[trainer.frozen_epochs :])
    image_parts = [(part.images, part.targets) for part in (train, validation)]
    feature_parts = [
        (trainer.features(images), targets) for images, targets in image_parts if first < trainer.frozen_epochs
    ]
    for epoch in range(first, trainer.epochs):
        if stopping.should_stop:
            break
        train_part, validation_part = feature_parts if epoch < trainer.frozen_epochs else image_parts
        metrics = _run_epoch(config, trainer, epoch, train_part, on_step)
        with trainer.averaged_weights(epoch):
            metrics = {**metrics, **trainer.validate(_batches(validation_part, config.training.batch_size), epoch)}
            log.write(epoch, metrics)
            if epoch >= trainer.frozen_epochs:
                stopping.record(metrics["val_loss"], trainer.weights)
        save_checkpoint(run, epoch + 1, trainer.state)
        on_step(Step((epoch + 1) * steps, steps * trainer.epochs, epoch + 1, metrics))
    trainer.use_averages()
    stopping.restore(trainer.weights)
    classifier = trainer.classifier()
    classifier.save(run / MODEL_FILE)
    return classifier


def predictor(model: keras.Model) -> Predict:
    """Wrap a classifier as returned by `fit` in the interface `Predict`."""

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.asarray(model(images.astype(np.float32), training=False))

    return predict


def _run_epoch(config: TrainingConfig, trainer: Trainer, epoch: int, train: Batch, on_step: OnStep) -> Metrics:
    order = np.random.default_rng((config.seed, epoch)).permutation(len(train[0]))
    steps = len(order) // config.training.batch_size
    batches = _batches(train, config.training.batch_size, order[: steps * config.training.batch_size])
    metrics: Metrics = {}
    for done, batch in enumerate(batches, epoch * steps + 1):
        metrics = trainer.step(batch, epoch)
        on_step(Step(done, steps * trainer.epochs, epoch, metrics))
    return metrics


def _batches(values: Batch, size: int, order: npt.NDArray[np.int64] | None = None) -> Iterator[Batch]:
    inputs, targets = values
    if order is None:
        order = np.arange(len(inputs))
    for start in range(0, len(order), size):
        indices = order[start : start + size]
        yield inputs[indices], targets[indices]


class _Log:
    """Metrics of each epoch, as CSV and for TensorBoard; lines of epochs that are trained again are dropped.

    Attributes:
        losses: Validation losses of the remaining lines.
    """

    def __init__(self, run: Path, first: int) -> None:
        self._path = run / LOG_FILE
        lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)[: first + 1] if first else []
        self._path.write_text("".join(lines), encoding="utf-8")
        self.losses = [float(row["val_loss"]) for row in csv.DictReader(lines)]
        self._writer = tf.summary.create_file_writer(str(run / TENSORBOARD_FOLDER))

    def write(self, epoch: int, metrics: Metrics) -> None:
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["epoch", *metrics])
            if not epoch:
                writer.writeheader()
            writer.writerow({"epoch": epoch, **metrics})
        with self._writer.as_default(step=epoch + 1):
            for name, value in metrics.items():
                tf.summary.scalar(name, value)
        self._writer.flush()
