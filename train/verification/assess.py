"""A finished run, measured: calibrated on its validation images, then evaluated on every test set."""

import keras
import numpy as np

from train.config.training_config import TrainingConfig
from train.data.examples import Splits, to_inputs
from train.evaluation.assessment import Assessment
from train.evaluation.calibrate import calibrate
from train.evaluation.evaluate import evaluate
from train.export.frozen_network import network_of
from train.export.precision import FULL_PRECISION, ExportPrecision
from train.networks.build import HEAD
from train.training.loop import predictor


def assess(
    config: TrainingConfig, model: keras.Model, splits: Splits, precision: ExportPrecision = FULL_PRECISION
) -> Assessment:
    """Calibrate a network and measure it on every test set, with images prepared as in the gateway.

    Args:
        config: What it was trained with.
        model: As `train.training.loop.fit` returns it. Its class scores are divided by the temperature found.
        splits: Its data.
        precision: What it is measured in.
    """
    thresholds = 0.5 if config.task == "multilabel" else None
    raw = evaluate(predictor(model), to_inputs(splits.validation, config.input, len(config.labels)), thresholds)
    calibration = calibrate(raw, config.task, config.answered_accuracy)
    set_temperature(model, calibration.temperature)
    inputs = {name: to_inputs(examples, config.input, len(config.labels)) for name, examples in splits.tests.items()}
    predict = predictor(model) if precision == FULL_PRECISION else network_of(model, config.input, precision).predict
    measured = {name: evaluate(predict, each, calibration.thresholds) for name, each in inputs.items()}
    return Assessment(config, calibration, measured)


def set_temperature(model: keras.Model, temperature: float) -> None:
    """Divide all class scores of a network by `temperature`: in its weights, so that it costs nothing to run."""
    head = model.get_layer(HEAD)
    head.set_weights([weight / np.float32(temperature) for weight in head.get_weights()])
