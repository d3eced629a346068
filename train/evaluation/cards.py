"""The model card of a training run."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from train.config.training_config import TrainingConfig
from train.evaluation.assessment import Assessment, summarise
from vision.card import Card, OutputSpec

SET_METRICS = (
    "accuracy",
    "images",
    "top_5_accuracy",
    "balanced_accuracy",
    "binary_accuracy",
    "micro_f1",
    "macro_f1",
    "calibration_error",
    "log_loss",
)
"""The metrics of each test set that go into the card."""
HEADLINE_METRICS = (
    *SET_METRICS,
    "calibration_error_before",
    "log_loss_before",
    "temperature",
    "validation",
    "answered",
)
"""The members of a summary that go into the card, besides the recall of each class."""
DECIMALS = 6


def make_card(
    assessment: Assessment,
    parameters: int,
    form_metrics: Mapping[str, Any],
    initial_weights: Mapping[str, str] | None = None,
) -> Card:
    """Return the card of a trained network as it will be served.

    Args:
        assessment: Assessment of the calibrated network, in the form that is served.
        parameters: Number of weights of the network.
        form_metrics: What was measured of each form, see `train.export.forms.FormMeasurement`.
        initial_weights: File and SHA-256 of the weights that the training started from; None for random ones.
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
        abstain_below=assessment.calibration.abstain_below,
        output=OutputSpec(name="probabilities", activation="none"),  # the activation is part of the graph
        metrics=make_metrics(assessment, form_metrics),
        provenance=_provenance(config, parameters, initial_weights),
    )


def make_metrics(assessment: Assessment, form_metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a card; see `make_card`."""
    summary = summarise(assessment)
    metrics = {name: summary[name] for name in HEADLINE_METRICS if name in summary}
    metrics["recall"] = {values["class"]: values["recall"] for values in summary["per_class"]}
    for name, further in summary.get("further_tests", {}).items():
        metrics[name] = {key: further[key] for key in SET_METRICS if key in further}
    rounded: dict[str, Any] = round_metrics({**metrics, **form_metrics})
    return rounded


def round_metrics(value: Any) -> Any:
    """Return JSON values whose numbers have at most `DECIMALS` decimals."""
    if isinstance(value, dict):
        return {key: round_metrics(member) for key, member in value.items()}
    return round(value, DECIMALS) if isinstance(value, float) else value


def _provenance(config: TrainingConfig, parameters: int, initial_weights: Mapping[str, str] | None) -> dict[str, Any]:
    training = config.model_dump(mode="json", include={"seed", "model", "augmentation", "training"})
    return {
        "architecture": getattr(config.model, "name", config.model.kind),
        "parameters": parameters,
        "data": {"title": config.data.title, "licence": config.data.licence, "validation": config.data.validation},
        "configuration": training,
        **({"initial_weights": dict(initial_weights)} if initial_weights else {}),
        "licence": config.licence,
        "made_with": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }
