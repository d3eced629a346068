"""The model card of a training run."""

from typing import Any

import keras
import tensorflow as tf

from train.config import Config
from train.evaluate import Evaluation, figures
from vision.card import Card, OutputSpec


def make_card(config: Config, evaluation: Evaluation, parameters: int) -> Card:
    """Describe a trained network as it will be served.

    Args:
        config: What it was trained with.
        evaluation: Of its data set's test images.
        parameters: How many numbers its weights are.
    """
    measured = figures(evaluation, config.labels)
    return Card(
        name=config.name,
        title=config.title,
        description=config.description,
        labels=config.labels,
        input=config.input,
        output=OutputSpec(name="probabilities", activation="none"),  # the softmax is part of the graph
        metrics={
            "accuracy": round(measured["accuracy"], 6),
            "images": measured["images"],
            "recall": {label: values["recall"] for label, values in measured["per_class"].items()},
        },
        provenance=_provenance(config, parameters),
    )


def _provenance(config: Config, parameters: int) -> dict[str, Any]:
    training = config.model_dump(mode="json", include={"seed", "model", "augmentation", "training"})
    return {
        "architecture": config.model.kind,
        "parameters": parameters,
        "data": {"title": config.data.title, "licence": config.data.licence, "validation": config.data.validation},
        "configuration": training,
        "licence": "Apache-2.0",
        "made_with": {"keras": keras.__version__, "tensorflow": tf.__version__},
    }
