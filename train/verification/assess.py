"""Assess a finished run: calibrate it on its validation images, then evaluate it on every test set."""

import keras
import numpy as np

from train.config.training_config import TrainingConfig
from train.data.examples import Splits, to_inputs
from train.evaluation.assessment import Assessment
from train.evaluation.calibrate import calibrate
from train.evaluation.evaluate import evaluate
from train.export.frozen_network import freeze_model
from train.export.precision import FULL_PRECISION, ExportPrecision
from train.networks.build import HEAD
from train.training.loop import predictor


def assess(
    config: TrainingConfig, model: keras.Model, splits: Splits, precision: ExportPrecision = FULL_PRECISION
) -> Assessment:
    """Calibrate a network and evaluate it on every test set, with images prepared as in the gateway.

    Args:
        config: Training configuration of the network.
        model: As returned by `train.training.loop.fit`. The temperature is applied to its weights.
        splits: Data of the run.
        precision: Precision of the network that is evaluated.
    """
    thresholds = 0.5 if config.task == "multilabel" else None
    raw = evaluate(predictor(model), to_inputs(splits.validation, config.input, len(config.labels)), thresholds)
    calibration = calibrate(raw, config.task, config.answered_accuracy)
    set_temperature(model, calibration.temperature)
    inputs = {name: to_inputs(examples, config.input, len(config.labels)) for name, examples in splits.tests.items()}
    predict = predictor(model) if precision == FULL_PRECISION else freeze_model(model, config.input, precision).predict
    evaluations = {name: evaluate(predict, images, calibration.thresholds) for name, images in inputs.items()}
    return Assessment(config, calibration, evaluations)


def set_temperature(model: keras.Model, temperature: float) -> None:
    """Divide all class scores of a network by `temperature`, in its last weights, which costs nothing at run time."""
    head = model.get_layer(HEAD)
    head.set_weights([weights / np.float32(temperature) for weights in head.get_weights()])
