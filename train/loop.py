"""The training itself: batches, optimiser, schedule, checkpoints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.config import Config, Training
from train.errors import TrainError
from train.examples import Inputs, Predict
from train.model import build_augmentation, build_model

MODEL_FILE = "model.keras"
CHECKPOINT_FILE = "checkpoint.weights.h5"
LOG_FILE = "log.csv"


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
    figures: Mapping[str, float]


OnStep: TypeAlias = Callable[[Step], None]


def fit(config: Config, train: Inputs, validation: Inputs, run: Path, on_step: OnStep) -> keras.Model:
    """Train a new classifier.

    After each epoch `run` holds its weights as `CHECKPOINT_FILE` and a further line of `LOG_FILE`, at the end
    the classifier as `MODEL_FILE`.

    Returns:
        float32[N, H, W, C] of 0..255 to float32[N, K] probabilities.

    Raises:
        TrainError: There are fewer training images than one batch takes.
        OSError: A file cannot be written.
    """
    steps = len(train.images) // config.training.batch_size
    if steps == 0:
        raise TrainError(
            f"training.batch_size: {config.training.batch_size} is more than the {len(train.images)} training images"
        )
    keras.utils.set_random_seed(config.seed)
    classifier = build_model(config.model, config.input, len(config.labels))
    trained = keras.Sequential([build_augmentation(config.augmentation, config.input, config.seed), classifier])
    _compile(trained, config.training, steps)
    run.mkdir(parents=True, exist_ok=True)
    trained.fit(
        _batches(train, config, shuffle=True),
        validation_data=_batches(validation, config, shuffle=False),
        epochs=config.training.epochs,
        shuffle=False,  # the batches are shuffled already
        verbose=0,
        callbacks=[
            keras.callbacks.TerminateOnNaN(),
            keras.callbacks.ModelCheckpoint(run / CHECKPOINT_FILE, save_weights_only=True),
            keras.callbacks.CSVLogger(run / LOG_FILE),
            _reporter(on_step, steps, config.training.epochs),
        ],
    )
    classifier.save(run / MODEL_FILE)
    return classifier


def predictor(model: keras.Model) -> Predict:
    """Make `Predict` of a classifier as `fit` returns it."""

    def predict(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return np.asarray(model(images.astype(np.float32), training=False))

    return predict


def _compile(model: keras.Model, training: Training, steps: int) -> None:
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, (training.epochs - 1) * steps),
        warmup_target=training.learning_rate,
        warmup_steps=steps,
    )
    model.compile(
        keras.optimizers.AdamW(schedule, weight_decay=training.weight_decay),
        keras.losses.CategoricalCrossentropy(label_smoothing=training.label_smoothing),
        metrics=["accuracy"],
    )


def _batches(inputs: Inputs, config: Config, *, shuffle: bool) -> tf.data.Dataset:
    """Batches of float32[N, H, W, C] images and float32[N, K] one-hot labels."""
    batches = tf.data.Dataset.from_tensor_slices((inputs.images, inputs.labels))
    if shuffle:
        batches = batches.shuffle(len(inputs.images), seed=config.seed)
    return (
        batches.batch(config.training.batch_size, drop_remainder=shuffle)
        .map(lambda images, labels: (tf.cast(images, tf.float32), tf.one_hot(labels, len(config.labels))))
        .prefetch(tf.data.AUTOTUNE)
    )


def _reporter(on_step: OnStep, steps: int, epochs: int) -> keras.callbacks.Callback:
    class Reporter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras publishes no types
        done = 0
        epoch = 0

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            del batch
            self.done += 1
            on_step(Step(self.done, steps * epochs, self.epoch, dict(logs or {})))

        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            self.epoch = epoch + 1
            on_step(Step(self.done, steps * epochs, self.epoch, dict(logs or {})))

    return Reporter()
