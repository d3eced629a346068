"""Assess a network: calibrate it on the validation images, then evaluate it on every test set."""

from typing import Any

import keras
import numpy as np

from train.config.training_config import TrainingConfig
from train.data.examples import Inputs, Splits, to_inputs
from train.evaluation.assessment import Assessment
from train.evaluation.calibrate import Calibration, calibrate
from train.evaluation.evaluate import evaluate
from train.export.forms import Forms, Samples, measure_forms
from train.networks.build import HEAD
from train.training.loop import predictor


def assess(config: TrainingConfig, model: keras.Model, splits: Splits) -> Assessment:
    """Calibrate a trained network and evaluate it on every test set, with images prepared as in the gateway.

    Args:
        config: Training configuration of the network.
        model: As returned by `train.training.loop.fit`. The temperature is applied to its weights.
        splits: Data of the run.
    """
    labels = len(config.labels)
    calibration = calibrate_network(config, model, to_inputs(splits.validation, config.input, labels))
    sets = {
        name: evaluate(predictor(model), to_inputs(examples, config.input, labels), calibration.thresholds)
        for name, examples in splits.tests.items()
    }
    return Assessment(config, calibration, sets)


def calibrate_network(config: TrainingConfig, model: keras.Model, validation: Inputs) -> Calibration:
    """Calibrate a trained network on its validation images, and apply the temperature to its weights."""
    thresholds = 0.5 if config.task == "multilabel" else None
    calibration = calibrate(evaluate(predictor(model), validation, thresholds), config.task, config.answered_accuracy)
    set_temperature(model, calibration.temperature)
    return calibration


def assess_forms(
    config: TrainingConfig, calibration: Calibration, splits: Splits, forms: Forms
) -> tuple[Assessment, dict[str, Any]]:
    """Evaluate all forms of a calibrated network on every test set.

    Args:
        config: Training configuration of the network.
        calibration: The calibration of the network.
        splits: Data of the run.
        forms: The forms of the network.

    Returns:
        The assessment of the served form, and the `FormMeasurement.metrics` of all.
    """
    sets = {
        name: Samples(to_inputs(examples, config.input, len(config.labels)), calibration.thresholds)
        for name, examples in splits.tests.items()
    }
    measurement = measure_forms(forms, sets)
    return Assessment(config, calibration, measurement.evaluations), measurement.metrics


def set_temperature(model: keras.Model, temperature: float) -> None:
    """Divide all class scores of a network by `temperature`, in its last weights, which costs nothing at run time."""
    head = model.get_layer(HEAD)
    head.set_weights([weights / np.float32(temperature) for weights in head.get_weights()])
