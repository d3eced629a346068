"""Trains a network step by step, and exposes the state that a checkpoint saves."""

import difflib
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.config.networks import Application, EfficientNetLite
from train.config.optimization import Optimization
from train.config.training_config import TrainingConfig
from train.data.batching import predict_in_batches
from train.errors import TrainError
from train.networks.application import load_published
from train.networks.augment import build_augmentation, build_mixing
from train.networks.build import HEAD, POOL, build_model
from train.networks.efficientnet_lite_weights import load_efficientnet_lite
from train.training.decision_counts import DecisionCounts
from train.training.optimizer import make_optimizer

Batch: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[np.float32]]
"""uint8[N, H, W, C] images, or float32[N, F] averaged features, and float32[N, K] targets."""
Metrics: TypeAlias = Mapping[str, float]
"""Values by name, such as `loss` and `val_accuracy`."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """A stage of the training: the new last layer alone, or the whole network.

    Attributes:
        scores: Model from images or features to class scores.
        optimizer: Optimiser of its trainable variables.
        on_images: Whether its inputs are images rather than features.
    """

    scores: keras.Model
    optimizer: keras.optimizers.Optimizer
    on_images: bool


class Trainer:
    """Trains one network by the optimisers and the augmentation of a configuration.

    Args:
        config: Configuration of the run.
        steps: Number of steps per epoch.

    Raises:
        TrainError: The configuration names a layer that the network does not have.
    """

    def __init__(self, config: TrainingConfig, steps: int) -> None:
        self._config = config
        keras.utils.set_random_seed(config.seed)
        sides = (None, None) if config.training.small_images else config.input.shape[:2]
        with _mixed_precision(enabled=config.training.mixed_precision):
            self._network = build_model(config.model, (*sides, config.input.shape[2]), len(config.labels), config.task)
        if config.training.transfer:
            _freeze(self._network, config.training.transfer.fine_tune_from)
        self._augmentation = build_augmentation(config.augmentation, config.input, config.seed)
        self._mixing = build_mixing(config.augmentation, config.seed)
        image = self._network.input
        features, scores = (self._network.get_layer(name).output for name in (POOL, HEAD))
        self._features = keras.Model(image, features)
        self._stages = [_make_stage(keras.Model(image, scores), config.training, steps, on_images=True)]
        if config.training.frozen:
            self._stages.insert(0, _make_stage(keras.Model(features, scores), config.training.frozen, steps))
        self._loss = _make_loss(config)
        self._means = keras.metrics.Mean(name="accuracy"), keras.metrics.Mean(name="loss")
        self._compiled: dict[Hashable, Callable[..., Any]] = {}

    @property
    def frozen_epochs(self) -> int:
        """Number of epochs at the start in which only the last layer is trained, on features."""
        frozen = self._config.training.frozen
        return frozen.epochs if frozen else 0

    @property
    def epochs(self) -> int:
        """Number of all epochs."""
        return self.frozen_epochs + self._config.training.epochs

    @property
    def weights(self) -> list[keras.Variable]:
        """Weights of the classifier."""
        return list(self._network.weights)

    @property
    def state(self) -> list[keras.Variable]:
        """All variables that a step changes and the next one reads, including those of the random generators."""
        optimizers = [variable for stage in self._stages for variable in stage.optimizer.variables]
        return [*self._network.variables, *self._augmentation.variables, *self._mixing.variables, *optimizers]

    def load_published(self, path: Path | None) -> None:
        """Load the initial weights that the configuration names, or those of a file.

        Raises:
            WeightsError: The weights are unavailable, or belong to another network.
            WeightsFileError: A checkpoint cannot be read, or belongs to another network.
            TrainError: The network is of a kind without published weights, but a file was passed.
        """
        match self._config.model:
            case Application() as config:
                load_published(self._network, HEAD, config, path)
            case EfficientNetLite() as config:
                load_efficientnet_lite(self._network, config, path)
            case config if path:
                raise TrainError(f"model.kind: {config.kind} has no published weights; remove --weights")

    def features(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Compute the inputs of the last layer for images without augmentation: float32[N, F]."""

        def average(images: Any) -> Any:
            return tf.cast(self._features(tf.cast(images, tf.float32), training=False), tf.float32)

        forward = tf.function(average, reduce_retracing=True)
        return predict_in_batches(lambda batch: forward(tf.constant(batch)).numpy(), images)

    def step(self, batch: Batch, epoch: int) -> Metrics:
        """Train on a batch of images, or of features in the frozen epochs; return the metrics of the epoch so far.

        Raises:
            TrainError: The loss is no longer finite.
        """
        stage, side = self._stage(epoch), self._config.training.image_side(epoch - self.frozen_epochs)
        key = (self._stages.index(stage), side)  # one graph for each image size
        if key not in self._compiled:
            self._compiled[key] = tf.function(lambda values, targets: self._train(stage, side, values, targets))
        self._compiled[key](*map(tf.constant, batch))
        metrics = self._read_metrics()
        if not np.isfinite(metrics["loss"]):
            raise TrainError("the loss is no longer a finite number; try a lower training.learning_rate")
        return metrics

    def validate(self, batches: Iterator[Batch], epoch: int) -> Metrics:
        """Evaluate batches, return their metrics, and reset all metrics."""
        self._reset_metrics()
        stage = self._stage(epoch)
        key = (self._stages.index(stage), "evaluate")
        if key not in self._compiled:
            self._compiled[key] = tf.function(lambda values, targets: self._evaluate(stage, values, targets))
        counts = DecisionCounts(self._config.task, len(self._config.labels))
        for values, targets in batches:
            scores = self._compiled[key](tf.constant(values), tf.constant(targets))
            counts.add(scores.numpy(), targets)
        metrics = {f"val_{name}": value for name, value in {**self._read_metrics(), **counts.metrics()}.items()}
        self._reset_metrics()
        return metrics

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate that the steps of an epoch have reached."""
        return float(self._stage(epoch).optimizer.learning_rate)

    @contextmanager
    def averaged_weights(self, epoch: int) -> Iterator[None]:
        """Have the network use the moving average of its weights, if the configuration asks for one, within a block."""
        stage = self._stage(epoch)
        if not stage.optimizer.use_ema:
            yield
            return
        averages = keras.callbacks.SwapEMAWeights()
        averages.set_model(stage.scores)
        averages.on_test_begin()
        try:
            yield
        finally:
            averages.on_test_end()

    def use_averages(self) -> None:
        """Replace the weights by their moving average, if the configuration asks for one."""
        stage = self._stages[-1]
        stage.optimizer.finalize_variable_values(stage.scores.trainable_variables)

    def classifier(self) -> keras.Model:
        """Return the network with its current weights: in float32, for images of the configuration's size."""
        config = self._config
        classifier = build_model(config.model, config.input.shape, len(config.labels), config.task)
        classifier.set_weights(self._network.get_weights())
        return classifier

    def _stage(self, epoch: int) -> _Stage:
        return self._stages[0 if epoch < self.frozen_epochs else -1]

    def _train(self, stage: _Stage, side: int | None, values: Any, targets: Any) -> None:
        values = tf.cast(values, tf.float32)
        if stage.on_images:
            values, targets = self._augment(values, targets, side)
        variables = stage.scores.trainable_variables
        with tf.GradientTape() as tape:
            scores = stage.scores(values, training=True)
            loss = self._loss(targets, scores)
        stage.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self._update_metrics(scores, targets, loss)

    def _augment(self, images: Any, targets: Any, side: int | None) -> tuple[Any, Any]:
        images = self._augmentation(images, training=True)
        mixed = self._mixing({"images": images, "labels": targets}, training=True)
        images, targets = mixed["images"], mixed["labels"]
        if side is not None:
            images = tf.image.resize(images, (side, side), tf.image.ResizeMethod.AREA)
        return images, targets

    def _evaluate(self, stage: _Stage, values: Any, targets: Any) -> Any:
        scores = tf.cast(stage.scores(tf.cast(values, tf.float32), training=False), tf.float32)
        self._update_metrics(scores, targets, self._loss(targets, scores))
        return scores

    def _update_metrics(self, scores: Any, targets: Any, loss: Any) -> None:
        accuracy, mean_loss = self._means
        if self._config.task == "multiclass":
            accuracy.update_state(tf.argmax(scores, axis=1) == tf.argmax(targets, axis=1))
        else:
            accuracy.update_state((scores > 0) == (targets > 1 / 2))
        mean_loss.update_state(loss, sample_weight=tf.cast(tf.shape(targets)[0], tf.float32))

    def _read_metrics(self) -> Metrics:
        return {mean.name: float(mean.result()) for mean in self._means}

    def _reset_metrics(self) -> None:
        for mean in self._means:
            mean.reset_state()


def _make_stage(scores: keras.Model, optimization: Optimization, steps: int, *, on_images: bool = False) -> _Stage:
    optimizer = make_optimizer(optimization, steps)
    optimizer.build(scores.trainable_variables)
    scores.compile(optimizer)
    return _Stage(scores, optimizer, on_images)


def _make_loss(config: TrainingConfig) -> keras.losses.Loss:
    losses = {"multiclass": keras.losses.CategoricalCrossentropy, "multilabel": keras.losses.BinaryCrossentropy}
    return losses[config.task](from_logits=True, label_smoothing=config.training.label_smoothing)


def _freeze(network: keras.Model, first: str | None) -> None:
    """Freeze all layers before `first` and all batch normalisation, which then keeps its statistics."""
    names = [layer.name for layer in network.layers]
    if first is not None and first not in names:
        nearest = difflib.get_close_matches(first, names, n=1, cutoff=0)
        raise TrainError(
            f"training.transfer.fine_tune_from: the network has no layer '{first}'; the nearest name is '{nearest[0]}'"
        )
    start = names.index(first) if first else 0
    for index, layer in enumerate(network.layers):
        layer.trainable = index >= start and not isinstance(layer, keras.layers.BatchNormalization)


@contextmanager
def _mixed_precision(*, enabled: bool) -> Iterator[None]:
    original = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if enabled else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(original)
