"""Optimisers and learning rate schedules."""

import keras
from keras import ops

from train.config.optimization import Optimization

CONVOLUTION_RANK = 4
MUON_ADAM_RATIO = 0.02
"""Learning rate of biases, normalisation layers and the head, relative to that of the convolutions."""


class ConvolutionMuon(keras.optimizers.Muon):  # type: ignore[misc]  # Keras publishes no types
    """Muon for convolution kernels of shape [h, w, in, out], AdamW for everything else.

    Keras' own Muon accepts only matrices. Here the first three dimensions are merged into one, as by the method's
    author (https://github.com/KellerJordan/Muon), and the orthogonalisation runs in bfloat16, as there. After each
    step a kernel is scaled to a norm of sqrt(out), as in https://github.com/KellerJordan/cifar10-airbench: batch
    normalisation follows each convolution, so its scale has no effect, and a constant norm keeps the relative size of
    the steps constant.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        return len(variable.shape) != CONVOLUTION_RANK

    def _muon_update_step(
        self, gradient: keras.KerasTensor, variable: keras.Variable, lr: keras.KerasTensor, m: keras.Variable
    ) -> None:
        super()._muon_update_step(gradient, variable, lr, m)
        scale = variable.shape[-1] ** 0.5 / (ops.norm(ops.reshape(variable, (-1,))) + self.epsilon)
        variable.assign(ops.multiply(variable, scale))

    def zeropower_via_newtonschulz5(self, x: keras.KerasTensor, steps: int) -> keras.KerasTensor:
        """Return the nearest orthogonal matrix of a kernel, reshaped to a matrix and back."""
        matrix = ops.cast(ops.reshape(x, (-1, x.shape[-1])), "bfloat16")
        orthogonal = super().zeropower_via_newtonschulz5(matrix, steps)
        return ops.reshape(ops.cast(orthogonal, x.dtype), x.shape)


def make_optimizer(optimization: Optimization, steps: int) -> keras.optimizers.Optimizer:
    """Create the optimiser for a run of `steps` steps an epoch."""
    schedule = _schedule(optimization, steps)
    average = {"use_ema": optimization.ema_momentum > 0, "ema_momentum": optimization.ema_momentum}
    if optimization.optimizer == "muon":
        return ConvolutionMuon(
            schedule,
            momentum=optimization.momentum,
            rms_rate=None,
            weight_decay=0.0,  # the norm is constant
            adam_weight_decay=optimization.weight_decay,
            adam_lr_ratio=MUON_ADAM_RATIO,
            **average,
        )
    if optimization.optimizer == "sgd":
        return keras.optimizers.SGD(
            schedule, momentum=optimization.momentum, nesterov=True, weight_decay=optimization.weight_decay, **average
        )
    return keras.optimizers.AdamW(schedule, weight_decay=optimization.weight_decay, **average)


def _schedule(optimization: Optimization, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup = round(optimization.warmup_epochs * steps)
    decay = max(1, optimization.epochs * steps - warmup)
    if optimization.schedule == "linear":
        return _LinearSchedule(optimization.learning_rate, warmup, decay)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else optimization.learning_rate,
        decay_steps=decay,
        warmup_target=optimization.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


class _LinearSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # Keras publishes no types
    """Linear warm-up from 0 to the peak, then linear decay to 0."""

    def __init__(self, peak: float, warmup: int, decay: int) -> None:
        self._peak, self._warmup, self._decay = peak, warmup, decay

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        step = ops.cast(step, "float32")
        rising = (step + 1) / max(1, self._warmup)
        falling = 1 - (step - self._warmup) / self._decay
        return self._peak * ops.clip(ops.minimum(rising, falling), 0.0, 1.0)

    def get_config(self) -> dict[str, float]:
        return {"peak": self._peak, "warmup": self._warmup, "decay": self._decay}
