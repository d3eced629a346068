"""What moves the weights, and how fast: optimisers and schedules."""

import keras
from keras import ops

from train.config.optimization import Training

CONVOLUTION_RANK = 4
MUON_ADAM_RATIO = 0.02
"""Learning rate of biases, normalisations and the head, in terms of the convolutions'."""


class ConvolutionMuon(keras.optimizers.Muon):  # type: ignore[misc]  # Keras publishes no types
    """Muon for convolution kernels of shape [h, w, in, out], AdamW for everything else.

    Keras' own Muon takes plain matrices alone. Here the first three dimensions are one, as the method's author
    has it (https://github.com/KellerJordan/Muon), the orthogonalisation runs in bfloat16 as there, and after each
    step a kernel is scaled to a norm of sqrt(out), as in https://github.com/KellerJordan/cifar10-airbench: batch
    normalisation follows each convolution, so its scale means nothing, and the step stays the same size to it.
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
        """Make the nearest orthogonal matrix, of a kernel as one."""
        matrix = ops.cast(ops.reshape(x, (-1, x.shape[-1])), "bfloat16")
        orthogonal = super().zeropower_via_newtonschulz5(matrix, steps)
        return ops.reshape(ops.cast(orthogonal, x.dtype), x.shape)


def make_optimizer(training: Training, steps: int) -> keras.optimizers.Optimizer:
    """Make the optimiser for a run of `steps` steps an epoch."""
    schedule = _schedule(training, steps)
    if training.optimizer == "muon":
        return ConvolutionMuon(
            schedule,
            momentum=training.momentum,
            rms_rate=None,
            weight_decay=0.0,  # the norm is fixed
            adam_weight_decay=training.weight_decay,
            adam_lr_ratio=MUON_ADAM_RATIO,
        )
    if training.optimizer == "sgd":
        return keras.optimizers.SGD(
            schedule, momentum=training.momentum, nesterov=True, weight_decay=training.weight_decay
        )
    return keras.optimizers.AdamW(schedule, weight_decay=training.weight_decay)


def _schedule(training: Training, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup = round(training.warmup_epochs * steps)
    rest = max(1, training.epochs * steps - warmup)
    if training.schedule == "linear":
        return _Linear(training.learning_rate, warmup, rest)
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else training.learning_rate,
        decay_steps=rest,
        warmup_target=training.learning_rate if warmup else None,
        warmup_steps=warmup,
    )


class _Linear(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]  # Keras publishes no types
    """Up from 0 to the peak, and down to 0 again."""

    def __init__(self, peak: float, warmup: int, rest: int) -> None:
        self._peak, self._warmup, self._rest = peak, warmup, rest

    def __call__(self, step: keras.KerasTensor) -> keras.KerasTensor:
        step = ops.cast(step, "float32")
        up = (step + 1) / max(1, self._warmup)
        down = 1 - (step - self._warmup) / self._rest
        return self._peak * ops.clip(ops.minimum(up, down), 0.0, 1.0)

    def get_config(self) -> dict[str, float]:
        return {"peak": self._peak, "warmup": self._warmup, "rest": self._rest}
