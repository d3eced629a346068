"""A finished run, measured: calibrated on its validation images, then evaluated on every test set."""

import keras
import numpy as np

from train.assessment import Assessment
from train.calibrate import calibrate
from train.config import Config
from train.evaluate import evaluate
from train.examples import Splits, to_inputs
from train.form import PLAIN, Form
from train.loop import predictor
from train.model import HEAD
from train.network import network_of


def assess(config: Config, model: keras.Model, splits: Splits, form: Form = PLAIN) -> Assessment:
    """Calibrate a network and measure it on every test set, with images prepared as in the gateway.

    Args:
        config: What it was trained with.
        model: As `train.loop.fit` returns it. Its class scores are divided by the temperature found.
        splits: Its data.
        form: What it is measured in.
    """
    thresholds = 0.5 if config.task == "multilabel" else None
    raw = evaluate(predictor(model), to_inputs(splits.validation, config.input, len(config.labels)), thresholds)
    calibration = calibrate(raw, config.task, config.answered_accuracy)
    set_temperature(model, calibration.temperature)
    inputs = {name: to_inputs(examples, config.input, len(config.labels)) for name, examples in splits.tests.items()}
    predict = predictor(model) if form == PLAIN else network_of(model, config.input, form).predict
    measured = {name: evaluate(predict, each, calibration.thresholds) for name, each in inputs.items()}
    return Assessment(config, calibration, measured)


def set_temperature(model: keras.Model, temperature: float) -> None:
    """Divide all class scores of a network by `temperature`: in its weights, so that it costs nothing to run."""
    head = model.get_layer(HEAD)
    head.set_weights([weight / np.float32(temperature) for weight in head.get_weights()])
