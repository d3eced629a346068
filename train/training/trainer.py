"""Trains a network step by step, and exposes the state that a checkpoint saves."""

import difflib
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.config.optimization import Optimization
from train.config.training_config import TrainingConfig
from train.data.batching import predict_in_batches
from train.errors import TrainError
from train.networks.augment import build_augmentation, build_mixing
from train.networks.build import HEAD, POOL, build_model
from train.networks.initial_weights import load_initial_weights
from train.training.decision_counts import DecisionCounts
from train.training.device import choose_policy
from train.training.losses import ClassificationLoss
from train.training.optimizer import make_optimizer

Batch: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[np.float32]]
"""uint8[N, H, W, C] images, or float32[N, F] averaged features, and float32[N, K] targets."""
Metrics: TypeAlias = Mapping[str, float]
"""Values by name, such as `loss` and `val_accuracy`."""


MAX_NAMED_LAYERS = 10
"""Number of layers that a message names."""


@dataclass(frozen=True, slots=True)
class _Group:
    """Variables that one optimiser updates."""

    variables: list[keras.Variable]
    optimizer: keras.optimizers.Optimizer


@dataclass(frozen=True, slots=True, eq=False)  # hashed and compared by identity
class _Stage:
    """A stage of the training: the new last layer alone, or some or all layers of the network.

    Attributes:
        scores: Model from images or features to class scores.
        groups: Its trained variables.
        on_images: Whether its inputs are images rather than features.
        epochs: Number of its epochs.
    """

    scores: keras.Model
    groups: tuple[_Group, ...]
    on_images: bool
    epochs: int

    @property
    def variables(self) -> list[keras.Variable]:
        """The trained variables of all groups."""
        return [variable for group in self.groups for variable in group.variables]

    @property
    def has_averages(self) -> bool:
        """Whether moving averages of the variables are kept."""
        return any(group.optimizer.use_ema for group in self.groups)

    def apply(self, gradients: Sequence[Any]) -> None:
        """Update the variables by their gradients."""
        remaining = iter(gradients)
        for group in self.groups:
            group.optimizer.apply([next(remaining) for _ in group.variables], group.variables)

    def use_averages(self) -> None:
        """Replace the variables by their moving averages."""
        for group in self.groups:
            group.optimizer.finalize_variable_values(group.variables)


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
        with _dtype_policy(choose_policy(config.training.mixed_precision)):
            self._network = build_model(config.model, (*sides, config.input.shape[2]), len(config.labels), config.task)
        if config.training.transfer:
            _freeze_statistics(self._network)
        self._augmentation = build_augmentation(config.augmentation, config.input, config.seed)
        self._mixing = build_mixing(config.augmentation, config.seed)
        features, scores = (self._network.get_layer(name).output for name in (POOL, HEAD))
        self._features = keras.Model(self._network.input, features)
        self._stages = []
        if config.training.frozen:
            model = keras.Model(features, scores)
            group = _make_group(model.trainable_variables, config.training.frozen, steps)
            self._stages.append(_Stage(model, (group,), on_images=False, epochs=config.training.frozen.epochs))
        model = keras.Model(self._network.input, scores)
        for stage in config.training.fine_tuning:
            groups = tuple(_make_groups(self._network, stage, steps))
            self._stages.append(_Stage(model, groups, on_images=True, epochs=stage.epochs))
        self._loss = ClassificationLoss(config)
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
        return sum(stage.epochs for stage in self._stages)

    def stage_epochs(self, epoch: int) -> range:
        """Return the epochs of the stage that an epoch belongs to; none after the last epoch."""
        stages = itertools.pairwise(itertools.accumulate((stage.epochs for stage in self._stages), initial=0))
        return next((range(*bounds) for bounds in stages if epoch < bounds[1]), range(self.epochs, self.epochs))

    @property
    def weights(self) -> list[keras.Variable]:
        """Weights of the classifier."""
        return list(self._network.weights)

    @property
    def state(self) -> list[keras.Variable]:
        """All variables that a step changes and the next one reads, including those of the random generators."""
        groups = [group for stage in self._stages for group in stage.groups]
        optimizers = [variable for group in groups for variable in group.optimizer.variables]
        return [*self._network.variables, *self._augmentation.variables, *self._mixing.variables, *optimizers]

    def load_published(self, path: Path | None) -> None:
        """Load the initial weights that the configuration names, or those of a file.

        Raises:
            TrainError: See `train.networks.initial_weights.load_initial_weights`.
        """
        load_initial_weights(self._network, self._config.model, path, self._config.labels)

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
        key = (stage, side)  # one graph for each image size
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
        key = (stage.scores, "evaluate")
        if key not in self._compiled:
            self._compiled[key] = tf.function(lambda values, targets: self._evaluate(stage.scores, values, targets))
        counts = DecisionCounts(self._config.task, len(self._config.labels))
        for values, targets in batches:
            scores = self._compiled[key](tf.constant(values), tf.constant(targets))
            counts.add(scores.numpy(), targets)
        metrics = {f"val_{name}": value for name, value in {**self._read_metrics(), **counts.metrics()}.items()}
        self._reset_metrics()
        return metrics

    def learning_rate(self, epoch: int) -> float:
        """Return the learning rate that the steps of an epoch have reached."""
        return float(self._stage(epoch).groups[-1].optimizer.learning_rate)

    @contextmanager
    def averaged_weights(self, epoch: int) -> Iterator[None]:
        """Have the network use the moving averages of its weights within a block, if the configuration asks for them.

        After the last epoch of a stage it keeps them: the next stage starts from them, or they are the result. A stage
        that ends early takes those of its best epoch instead, see `train.training.stopping`.
        """
        stage = self._stage(epoch)
        if not stage.has_averages:
            yield
            return
        weights = [variable.numpy() for variable in stage.variables]
        stage.use_averages()
        yield
        if epoch + 1 < self.epochs and self._stage(epoch + 1) is stage:
            for variable, values in zip(stage.variables, weights, strict=True):
                variable.assign(values)

    def classifier(self) -> keras.Model:
        """Return the network with its current weights: in float32, for images of the configuration's size."""
        config = self._config
        classifier = build_model(config.model, config.input.shape, len(config.labels), config.task)
        classifier.set_weights(self._network.get_weights())
        return classifier

    def _stage(self, epoch: int) -> _Stage:
        ends = itertools.accumulate(stage.epochs for stage in self._stages)
        return next(stage for stage, end in zip(self._stages, ends, strict=True) if epoch < end)

    def _train(self, stage: _Stage, side: int | None, values: Any, targets: Any) -> None:
        values = tf.cast(values, tf.float32)
        if stage.on_images:
            values, targets = self._augment(values, targets, side)
        with tf.GradientTape() as tape:
            scores = stage.scores(values, training=True)
            loss = self._loss(targets, scores)
        stage.apply(tape.gradient(loss, stage.variables))
        self._update_metrics(scores, targets, loss)

    def _augment(self, images: Any, targets: Any, side: int | None) -> tuple[Any, Any]:
        images = self._augmentation(images, training=True)
        mixed = self._mixing({"images": images, "labels": targets}, training=True)
        images, targets = mixed["images"], mixed["labels"]
        if side is not None:
            images = tf.image.resize(images, (side, side), tf.image.ResizeMethod.AREA)
        return images, targets

    def _evaluate(self, model: keras.Model, values: Any, targets: Any) -> Any:
        scores = tf.cast(model(tf.cast(values, tf.float32), training=False), tf.float32)
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


def _make_groups(network: keras.Model, optimization: Optimization, steps: int) -> Iterator[_Group]:
    """Yield the variables that a stage of fine-tuning trains, with their optimisers."""
    transfer = optimization.transfer
    start = _find_layer(network, transfer.fine_tune_from) if transfer and transfer.fine_tune_from else 0
    factor = transfer.backbone_learning_rate_factor if transfer else 1.0
    if factor == 1:
        yield _make_group(_trainable_variables(network.layers[start:]), optimization, steps)
        return
    slower = optimization.model_copy(update={"learning_rate": factor * optimization.learning_rate})
    head = network.get_layer(HEAD)
    yield _make_group(
        _trainable_variables(layer for layer in network.layers[start:] if layer is not head), slower, steps
    )
    yield _make_group(head.trainable_variables, optimization, steps)


def _make_group(variables: list[keras.Variable], optimization: Optimization, steps: int) -> _Group:
    optimizer = make_optimizer(optimization, steps)
    optimizer.build(variables)
    return _Group(variables, optimizer)


def _trainable_variables(layers: Iterable[keras.layers.Layer]) -> list[keras.Variable]:
    return [variable for layer in layers for variable in layer.trainable_variables]


def _find_layer(network: keras.Model, name: str) -> int:
    """Return the index of a layer that the configuration names."""
    names = [layer.name for layer in network.layers]
    if name not in names:
        nearest, *others = difflib.get_close_matches(name, names, n=MAX_NAMED_LAYERS, cutoff=0)
        raise TrainError(
            f"training.transfer.fine_tune_from: the network has no layer '{name}'; the nearest name is '{nearest}',"
            f" then {', '.join(others)}"
        )
    return names.index(name)


def _freeze_statistics(network: keras.Model) -> None:
    """Freeze all batch normalisation, which then keeps its statistics."""
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


@contextmanager
def _dtype_policy(policy: str) -> Iterator[None]:
    original = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(original)
