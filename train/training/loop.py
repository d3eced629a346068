"""The training itself: batches, steps, epochs, and what a run leaves behind."""

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
from train.training.trainer import Batch, Figures, Trainer

MODEL_FILE = "model.keras"
LOG_FILE = "log.csv"
TENSORBOARD_FOLDER = "tensorboard"


@dataclass(frozen=True, slots=True)
class Step:
    """How far a run is.

    Attributes:
        done: Steps made.
        total: Steps in all.
        epoch: Epochs completed.
        figures: Loss and accuracy of the epoch so far; those of the validation images after its last step.
    """

    done: int
    total: int
    epoch: int
    figures: Figures


OnStep: TypeAlias = Callable[[Step], None]


def fit(  # noqa: PLR0913  # the last two are options of the command line
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

    After each epoch `run` holds a checkpoint, a further line of `LOG_FILE` and one for TensorBoard, at the end
    the classifier as `MODEL_FILE`.

    Args:
        config: What to train, and how.
        train: Learnt from, in an order that the configuration's seed gives.
        validation: Measured after each epoch.
        run: The folder; made if need be.
        on_step: Told about each step and each epoch.
        resume: Go on from the checkpoint in `run`, if there is one, to the weights of a run without a break.
        weights: File of the weights to start from, in place of the configuration's.

    Returns:
        float32[N, H, W, C] of 0..255 to float32[N, K] probabilities.

    Raises:
        TrainError: There are fewer training images than one batch takes, the weights to start from cannot be had,
            the checkpoint is of another network, or the loss is no longer a number.
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
    whole = [(part.images, part.targets) for part in (train, validation)]
    averaged = [(trainer.features(images), targets) for images, targets in whole if first < trainer.frozen_epochs]
    for epoch in range(first, trainer.epochs):
        if stopping.over:
            break
        learnt, watched = averaged if epoch < trainer.frozen_epochs else whole
        figures = _run_epoch(config, trainer, epoch, learnt, on_step)
        figures = {**figures, **trainer.validate(_batches(watched, config.training.batch_size), epoch)}
        log.write(epoch, figures)
        if epoch >= trainer.frozen_epochs:
            stopping.note(figures["val_loss"], trainer.weights)
        save_checkpoint(run, epoch + 1, trainer.state)
        on_step(Step((epoch + 1) * steps, steps * trainer.epochs, epoch + 1, figures))
    stopping.restore(trainer.weights)
    classifier = trainer.classifier()
    classifier.save(run / MODEL_FILE)
    return classifier


def predictor(model: keras.Model) -> Predict:
    """Make `Predict` of a classifier as `fit` returns it."""

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.asarray(model(images.astype(np.float32), training=False))

    return predict


def _run_epoch(config: TrainingConfig, trainer: Trainer, epoch: int, learnt: Batch, on_step: OnStep) -> Figures:
    order = np.random.default_rng((config.seed, epoch)).permutation(len(learnt[0]))
    steps = len(order) // config.training.batch_size
    batches = _batches(learnt, config.training.batch_size, order[: steps * config.training.batch_size])
    figures: Figures = {}
    for done, batch in enumerate(batches, epoch * steps + 1):
        figures = trainer.step(batch, epoch)
        on_step(Step(done, steps * trainer.epochs, epoch, figures))
    return figures


def _batches(values: Batch, size: int, order: npt.NDArray[np.int64] | None = None) -> Iterator[Batch]:
    inputs, targets = values
    if order is None:
        order = np.arange(len(inputs))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield inputs[chosen], targets[chosen]


class _Log:
    """One line an epoch, as CSV and for TensorBoard; lines of epochs that are trained again are dropped.

    Attributes:
        losses: Of the validation images, in the lines that are kept.
    """

    def __init__(self, run: Path, first: int) -> None:
        self._path = run / LOG_FILE
        kept = self._path.read_text(encoding="utf-8").splitlines(keepends=True)[: first + 1] if first else []
        self._path.write_text("".join(kept), encoding="utf-8")
        self.losses = [float(row["val_loss"]) for row in csv.DictReader(kept)]
        self._writer = tf.summary.create_file_writer(str(run / TENSORBOARD_FOLDER))

    def write(self, epoch: int, figures: Figures) -> None:
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["epoch", *figures])
            if not epoch:
                writer.writeheader()
            writer.writerow({"epoch": epoch, **figures})
        with self._writer.as_default(step=epoch + 1):
            for name, value in figures.items():
                tf.summary.scalar(name, value)
        self._writer.flush()
