"""Convert an image's outcome to a JSON object or a row of CSV, and read back what a later run needs from it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from image_gateway_client.answers import Answer, Outcome, Prediction
from image_gateway_client.errors import Problem

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """What an earlier run wrote about an image.

    Attributes:
        image: Name of the image.
        model: Name of the model that classified it; None if there was a problem.
    """

    image: str
    model: str | None


def to_document(image: str, outcome: Outcome) -> Document:
    """Return an outcome in the gateway's JSON form, with the image's name as the first member."""
    if isinstance(outcome, Problem):
        return {"image": image, "problem": _problem_document(outcome)}
    predictions = _prediction_documents(outcome.predictions)
    document: Document = {
        "image": image,
        "class": outcome.label,
        "class_id": outcome.class_id,
        "score": outcome.score,
        **({} if outcome.confident is None else {"confident": outcome.confident}),
        "predictions": predictions,
    }
    if outcome.classes is not None:
        document["classes"] = _prediction_documents(outcome.classes)
    model = {"name": outcome.model.name, "version": outcome.model.version}
    return {**document, "model": model, "request_id": outcome.request_id}


def from_document(document: Mapping[str, Any]) -> Record:
    """Parse a document written by `to_document`.

    Raises:
        KeyError, TypeError: `to_document` did not write the document.
    """
    image = document["image"]
    if not isinstance(image, str):
        raise TypeError("image is not a name")
    return Record(image, None if "problem" in document else str(document["model"]["name"]))


def _problem_document(problem: Problem) -> Document:
    document: Document = {"type": problem.type, "title": problem.title}
    if problem.status is not None:
        document["status"] = problem.status
    document |= {"detail": problem.detail, **problem.members}
    return document | {"request_id": problem.request_id} if problem.request_id else document


def _prediction_documents(predictions: Sequence[Prediction]) -> list[Document]:
    return [{"class": item.label, "class_id": item.class_id, "score": item.score} for item in predictions]


def columns(top_k: int) -> list[str]:
    """Return the names of the CSV columns for `top_k` ranked classes."""
    others = [f"{name}_{rank}" for rank in range(2, top_k + 1) for name in ("class", "score")]
    return [
        "image",
        "class",
        "class_id",
        "score",
        *others,
        "classes",
        "model",
        "version",
        "problem",
        "detail",
        "confident",
    ]


def to_row(image: str, outcome: Outcome, top_k: int) -> list[object]:
    """Return an outcome as the cells of the columns `columns(top_k)`."""
    if isinstance(outcome, Problem):
        return _fill({"image": image, "problem": outcome.title, "detail": outcome.detail}, top_k)
    values: Document = {
        "image": image,
        "class": outcome.label,
        "class_id": outcome.class_id,
        "score": outcome.score,
        "classes": _join_classes(outcome),
        "model": outcome.model.name,
        "version": outcome.model.version,
        "confident": "" if outcome.confident is None else json.dumps(outcome.confident),
    }
    for rank, item in enumerate(outcome.predictions[1:top_k], 2):
        values |= {f"class_{rank}": item.label, f"score_{rank}": item.score}
    return _fill(values, top_k)


def from_row(row: Sequence[str], top_k: int) -> Record:
    """Parse a row written by `to_row`.

    Raises:
        ValueError: The row has another number of cells.
    """
    values = dict(zip(columns(top_k), row, strict=True))
    return Record(values["image"], None if values["problem"] else values["model"])


def _fill(values: Mapping[str, object], top_k: int) -> list[object]:
    return [values.get(name, "") for name in columns(top_k)]


def _join_classes(answer: Answer) -> str:
    return "; ".join(item.label for item in answer.classes or ())
