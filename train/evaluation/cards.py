"""The model card of a training run."""

from typing import Any

import keras
import tensorflow as tf

from train.config.training_config import TrainingConfig
from train.evaluation.assessment import Assessment, summary
from vision.card import Card, OutputSpec

HEADLINES = (
    "accuracy",
    "images",
    "top_5_accuracy",
    "binary_accuracy",
    "micro_f1",
    "macro_f1",
    "calibration_error",
    "temperature",
    "abstain_below",
    "answered",
)
"""Of a summary, what a card tells of the test images, beside the recall of each class."""
FURTHER_HEADLINES = HEADLINES[:7]
DIGITS = 6


def make_card(assessment: Assessment, parameters: int) -> Card:
    """Describe a trained network as it will be served.

    Args:
        assessment: Of the network, calibrated.
        parameters: How many numbers its weights are.
    """
    config, thresholds = assessment.config, assessment.calibration.thresholds
    return Card(
        name=config.name,
        title=config.title,
        description=config.description,
        labels=config.labels,
        input=config.input,
        task=config.task,
        threshold=0.5 if thresholds is None else thresholds,
        output=OutputSpec(name="probabilities", activation="none"),  # the activation is part of the graph
        metrics=_metrics(assessment),
        provenance=_provenance(config, parameters),
    )


def _metrics(assessment: Assessment) -> dict[str, Any]:
    measured = summary(assessment)
    metrics = {name: measured[name] for name in HEADLINES if name in measured}
    metrics["recall"] = {values["class"]: values["recall"] for values in measured["per_class"]}
    for name, further in measured.get("further_tests", {}).items():
        metrics[name] = {key: further[key] for key in FURTHER_HEADLINES if key in further}
    rounded: dict[str, Any] = _rounded(metrics)
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, DIGITS) if isinstance(value, float) else value


def _provenance(config: TrainingConfig, parameters: int) -> dict[str, Any]:
    training = config.model_dump(mode="json", include={"seed", "model", "augmentation", "training"})
    return {
        "architecture": getattr(config.model, "name", config.model.kind),
        "parameters": parameters,
        "data": {"title": config.data.title, "licence": config.data.licence, "validation": config.data.validation},
        "configuration": training,
        "licence": "Apache-2.0",
        "made_with": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }
