"""The training itself: batches, steps, epochs, and what a run leaves behind."""

import csv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.augment import build_augmentation
from train.checkpoint import load_checkpoint, save_checkpoint
from train.config import Config
from train.errors import TrainError
from train.examples import Inputs, Predict
from train.model import HEAD, build_model
from train.optimizer import make_optimizer

MODEL_FILE = "model.keras"
LOG_FILE = "log.csv"
TENSORBOARD_FOLDER = "tensorboard"

Batch: TypeAlias = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]
Figures: TypeAlias = Mapping[str, float]


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


def fit(
    config: Config, train: Inputs, validation: Inputs, run: Path, on_step: OnStep, *, resume: bool = False
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

    Returns:
        float32[N, H, W, C] of 0..255 to float32[N, K] probabilities.

    Raises:
        TrainError: There are fewer training images than one batch takes, the checkpoint is of another network, or
            the loss is no longer a number.
        OSError: A file cannot be written.
    """
    batch_size, epochs = config.training.batch_size, config.training.epochs
    steps = len(train.images) // batch_size
    if steps == 0:
        raise TrainError(f"training.batch_size: {batch_size} is more than the {len(train.images)} training images")
    trainer = Trainer(config, steps)
    run.mkdir(parents=True, exist_ok=True)
    first = load_checkpoint(run, trainer.state) if resume else 0
    log = _Log(run, first)
    for epoch in range(first, epochs):
        order = np.random.default_rng((config.seed, epoch)).permutation(len(train.images))[: steps * batch_size]
        figures: Figures = {}
        for done, batch in enumerate(_batches(train, order, batch_size), epoch * steps + 1):
            figures = trainer.step(batch, config.training.side(epoch))
            on_step(Step(done, steps * epochs, epoch, figures))
        figures = {**figures, **trainer.validate(_batches(validation, np.arange(len(validation.images)), batch_size))}
        log.write(epoch, figures)
        save_checkpoint(run, epoch + 1, trainer.state)
        on_step(Step((epoch + 1) * steps, steps * epochs, epoch + 1, figures))
    classifier = trainer.classifier()
    classifier.save(run / MODEL_FILE)
    return classifier


def predictor(model: keras.Model) -> Predict:
    """Make `Predict` of a classifier as `fit` returns it."""

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.asarray(model(images.astype(np.float32), training=False))

    return predict


class Trainer:
    """A network on its way, and all that changes with it.

    Args:
        config: The run's.
        steps: An epoch has so many.
    """

    def __init__(self, config: Config, steps: int) -> None:
        self._config = config
        keras.utils.set_random_seed(config.seed)
        with _precision(mixed=config.training.mixed_precision):
            self._network = build_model(config.model, (None, None, config.input.shape[2]), len(config.labels))
        self._scores = keras.Model(self._network.input, self._network.get_layer(HEAD).output)
        self._augmentation = build_augmentation(config.augmentation, config.input, config.seed)
        self._optimizer = make_optimizer(config.training, steps)
        self._optimizer.build(self._network.trainable_variables)
        self._loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.training.label_smoothing
        )
        self._means = keras.metrics.Mean(name="accuracy"), keras.metrics.Mean(name="loss")
        self._learn_from: dict[int | None, Callable[..., None]] = {}
        self._measure = tf.function(self._measure_batch)

    @property
    def state(self) -> list[keras.Variable]:
        """Everything that a step changes and the next one reads, the random generators' counters included."""
        return [*self._network.variables, *self._augmentation.variables, *self._optimizer.variables]

    def step(self, batch: Batch, side: int | None) -> Figures:
        """Learn from a batch, shrunk to a side unless that is None; return the figures since the last validation.

        Raises:
            TrainError: The loss is no longer a number.
        """
        if side not in self._learn_from:  # a graph for each size of images
            self._learn_from[side] = tf.function(lambda images, targets: self._learn(images, targets, side))
        self._learn_from[side](*map(tf.constant, batch))
        figures = self._figures()
        if not np.isfinite(figures["loss"]):
            raise TrainError("the loss is no longer a finite number; try a lower training.learning_rate")
        return figures

    def validate(self, batches: Iterator[Batch]) -> Figures:
        """Measure batches, and begin new figures."""
        self._reset()
        for batch in batches:
            self._measure(*map(tf.constant, batch))
        figures = {f"val_{name}": value for name, value in self._figures().items()}
        self._reset()
        return figures

    def classifier(self) -> keras.Model:
        """Give the network as it is now: in float32, for images of the configuration's size."""
        classifier = build_model(self._config.model, self._config.input.shape, len(self._config.labels))
        classifier.set_weights(self._network.get_weights())
        return classifier

    def _learn(self, images: Any, targets: Any, side: int | None) -> None:
        images = self._augmentation(tf.cast(images, tf.float32), training=True)
        if side is not None:
            images = tf.image.resize(images, (side, side), tf.image.ResizeMethod.AREA)
        variables = self._network.trainable_variables
        with tf.GradientTape() as tape:
            scores = self._scores(images, training=True)
            loss = self._loss(targets, scores)
        self._optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self._note(scores, targets, loss)

    def _measure_batch(self, images: Any, targets: Any) -> None:
        scores = self._scores(tf.cast(images, tf.float32), training=False)
        self._note(scores, targets, self._loss(targets, scores))

    def _note(self, scores: Any, targets: Any, loss: Any) -> None:
        accuracy, mean_loss = self._means
        accuracy.update_state(tf.argmax(scores, axis=1) == tf.argmax(targets, axis=1))
        mean_loss.update_state(loss, sample_weight=tf.cast(tf.shape(targets)[0], tf.float32))

    def _figures(self) -> Figures:
        return {mean.name: float(mean.result()) for mean in self._means}

    def _reset(self) -> None:
        for mean in self._means:
            mean.reset_state()


class _Log:
    """One line an epoch, as CSV and for TensorBoard; lines of epochs that are trained again are dropped."""

    def __init__(self, run: Path, first: int) -> None:
        self._path = run / LOG_FILE
        kept = self._path.read_text(encoding="utf-8").splitlines(keepends=True)[: first + 1] if first else []
        self._path.write_text("".join(kept), encoding="utf-8")
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


@contextmanager
def _precision(*, mixed: bool) -> Iterator[None]:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _batches(inputs: Inputs, order: npt.NDArray[np.int64], batch_size: int) -> Iterator[Batch]:
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        yield inputs.images[chosen], inputs.targets[chosen]
