"""Documents that describe the configured models: the list of all, and one with its versions and its card."""

from collections.abc import Mapping
from typing import Any, cast

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.model_client.protocol import VersionStatus
from gateway.models.registry import ModelRegistry
from gateway.prediction import schemas
from vision.card import Card

SPELLINGS = {"licence": "license", "license": "licence"}
"""Members of a card's provenance that are the same in British and American English."""


def list_models(registry: ModelRegistry, *, deadline: Deadline) -> schemas.ModelList:
    """Return a summary of every configured model."""
    return {"models": [_summarise(registry, name, deadline) for name in registry.names]}


def describe_model(registry: ModelRegistry, name: str, *, deadline: Deadline) -> schemas.ModelDetails:
    """Return one model with its versions and, if one of them answers, its card.

    Raises:
        ModelNotFoundError: The model is not configured.
        GatewayError: The model server does not answer; see `ModelRegistry`.
    """
    statuses = registry.version_statuses(name, deadline=deadline)
    labels = registry.labels(name, deadline=deadline)
    versions = [_version_state(status, labels) for status in statuses]
    document = cast("schemas.ModelDetails", {**_summarise(registry, name, deadline), "versions": versions})
    if document["available"]:
        document["card"] = cast("Card", _card_document(registry.current(name, deadline=deadline).card))
    return document


def _card_document(card: Card) -> dict[str, Any]:
    document = card.to_document()
    return document | {"provenance": _with_both_spellings(document["provenance"])}


def _with_both_spellings(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Add `license` beside `licence` and the other way round, also to what stands inside, such as the data set."""
    members = {
        name: _with_both_spellings(value) if isinstance(value, Mapping) else value for name, value in provenance.items()
    }
    added = {other: members[name] for name, other in SPELLINGS.items() if name in members and other not in members}
    return members | added


def _version_state(status: VersionStatus, labels: dict[str, int]) -> schemas.VersionState:
    document: schemas.VersionState = {
        "version": status.version,
        "state": status.state,
    }
    version_labels = [label for label, version in labels.items() if version == status.version]
    if version_labels:
        document["labels"] = version_labels
    if status.message:
        document["reason"] = status.message
    return document


def _summarise(registry: ModelRegistry, name: str, deadline: Deadline) -> schemas.ModelSummary:
    document: schemas.ModelSummary = {"name": name, "default": name == registry.default, "available": False}
    try:
        served = registry.current(name, deadline=deadline)
    except GatewayError as error:
        document["reason"] = error.detail
        return document
    card = served.card
    document["available"] = True
    document["version"] = served.version
    document["title"] = card.title
    document["description"] = card.description
    document["task"] = card.task
    document["labels"] = list(card.labels)
    document["explainable"] = served.explain is not None
    return document
