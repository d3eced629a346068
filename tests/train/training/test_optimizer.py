"""Learning rates follow their schedules, and Muon's steps are orthogonal and of constant size."""

from typing import Any

import keras
import numpy as np
import pytest

from train.config.optimization import Optimization
from train.training.optimizer import ConvolutionMuon, make_optimizer

STEPS = 10
KERNEL = (3, 3, 4, 8)


def make_optimization(**changes: Any) -> Optimization:
    return Optimization(**{"epochs": 12, "batch_size": 4, "learning_rate": 0.5, "warmup_epochs": 2} | changes)


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({"schedule": "linear"}, {0: 0.025, 9: 0.25, 19: 0.5, 20: 0.5, 70: 0.25, 119: 0.005, 120: 0}),
        ({"schedule": "linear", "warmup_epochs": 0}, {0: 0.5, 60: 0.25, 120: 0}),
        ({"schedule": "cosine"}, {0: 0, 10: 0.25, 20: 0.5, 70: 0.25, 120: 0}),
        ({"schedule": "cosine", "warmup_epochs": 0}, {0: 0.5, 60: 0.25, 120: 0}),
    ],
    ids=["linear", "linear without warm-up", "cosine", "cosine without warm-up"],
)
def test_the_rate_rises_during_warm_up_and_then_falls_to_zero(changes: dict[str, Any], rates: dict[int, float]):
    optimizer = make_optimizer(make_optimization(**changes), STEPS)
    optimizer.build([])
    for step, rate in rates.items():
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(rate, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", keras.optimizers.AdamW), ("sgd", keras.optimizers.SGD), ("muon", ConvolutionMuon)],
)
def test_each_optimizer_descends_a_slope(name: str, kind: type):
    optimizer = make_optimizer(make_optimization(optimizer=name, warmup_epochs=0), STEPS)

    assert type(optimizer) is kind

    bias = keras.Variable(np.ones(4, np.float32))
    optimizer.build([bias])
    optimizer.apply([np.ones(4, np.float32)])

    assert (np.array(bias) < 1).all()


def muon_step(kernel: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    optimizer = make_optimizer(make_optimization(optimizer="muon", warmup_epochs=0), STEPS)
    variable = keras.Variable(kernel)
    optimizer.build([variable])
    optimizer.apply([gradient])
    return np.array(variable)


def test_a_muon_step_keeps_the_norm_whatever_the_size_of_the_gradient():
    rng = np.random.default_rng(0)
    kernel, gradient = (rng.normal(size=KERNEL).astype(np.float32) for _ in range(2))
    stepped = muon_step(kernel, gradient)

    assert np.linalg.norm(stepped) == pytest.approx(KERNEL[-1] ** 0.5, rel=1e-4)
    np.testing.assert_allclose(muon_step(kernel, 128 * gradient), stepped, atol=1e-2)
    assert np.abs(stepped / np.linalg.norm(stepped) - kernel / np.linalg.norm(kernel)).max() > 1e-3


def test_the_direction_of_a_muon_step_is_nearly_orthogonal():
    gradient = np.random.default_rng(0).normal(size=KERNEL).astype(np.float32)
    direction = np.array(ConvolutionMuon().zeropower_via_newtonschulz5(gradient, steps=5)).reshape(-1, KERNEL[-1])

    assert direction.shape == (36, 8)

    scales = np.linalg.svd(direction, compute_uv=False)

    assert scales.min() > 0.6
    assert scales.max() < 1.4


def test_keras_calls_every_method_that_muon_overrides(monkeypatch: pytest.MonkeyPatch):
    overridden = {name for name in vars(ConvolutionMuon) if callable(vars(ConvolutionMuon)[name])}
    calls: set[str] = set()

    def record(name: str):
        method = getattr(ConvolutionMuon, name)

        def recorded(*args: Any, **options: Any) -> Any:
            calls.add(name)
            return method(*args, **options)

        return recorded

    for name in overridden:
        monkeypatch.setattr(ConvolutionMuon, name, record(name))
    muon_step(np.ones(KERNEL, np.float32), np.ones(KERNEL, np.float32))

    assert overridden >= {"_should_use_adamw", "_muon_update_step", "zeropower_via_newtonschulz5"}
    assert calls == overridden, "this release of Keras no longer calls some methods under these names"
