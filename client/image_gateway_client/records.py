"""Convert an image's outcome to a JSON object or a row of CSV, and read back what a later run needs from it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from image_gateway_client.answers import Outcome, Prediction
from image_gateway_client.errors import Problem

Document: TypeAlias = dict[str, Any]

ANSWER_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "class": str,
    "class_id": int,
    "score": (int, float),
    "predictions": list,
    "request_id": str,
}
PROBLEM_TYPES = {"type": str, "title": str, "detail": str}
MEMBERS = {"job", "index", "image", "kind", "label", "confident", "classes", "model", "problem", *ANSWER_TYPES}
FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""The beginning of a cell of which spreadsheets make a formula (OWASP, CSV injection), or that has been escaped."""
ESCAPE = "'"


@dataclass(frozen=True, slots=True)
class JobItem:
    """An image of a job, whose name may occur twice in it.

    Attributes:
        job: Identifier of the job.
        index: Position of the image in the job.
        image: Name of the image.
    """

    job: str
    index: int
    image: str


Item: TypeAlias = str | JobItem
"""What an outcome belongs to: the name of an image or, among the results of a job, its place there."""


@dataclass(frozen=True, slots=True)
class Record:
    """What an earlier run wrote about an image.

    Attributes:
        image: The image.
        model: Name of the model that classified it; None if there was a problem.
        version: Version of that model.
    """

    image: Item
    model: str | None
    version: int | None = None

    def is_finished(self, model: str | None, version: int | None) -> bool:
        """Whether the image need not be classified again.

        Args:
            model: Name of the model that is to classify it; None for any.
            version: Version that is to classify it; None for any.
        """
        if self.model is None:
            return isinstance(self.image, JobItem)  # a job never classifies an image a second time
        return model in {None, self.model} and version in {None, self.version}


def to_document(image: Item, outcome: Outcome) -> Document:
    """Return an outcome in the gateway's JSON form, with the image's name, or its place in a job, before it."""
    if isinstance(outcome, Problem):
        return {**_identify(image), "kind": "problem", "problem": _problem_document(outcome)}
    document: Document = {
        **_identify(image),
        "kind": "prediction",
        "class": outcome.label,
        "label": outcome.label,
        "class_id": outcome.class_id,
        "score": outcome.score,
        **({} if outcome.confident is None else {"confident": outcome.confident}),
        "predictions": _prediction_documents(outcome.predictions),
    }
    if outcome.classes is not None:
        document["classes"] = _prediction_documents(outcome.classes)
    model = {"name": outcome.model.name, "version": outcome.model.version}
    return {**document, "model": model, "request_id": outcome.request_id}


def from_document(document: object, *, of_job: bool = False) -> Record:
    """Parse a document written by `to_document`, also by an earlier release.

    Args:
        document: The document.
        of_job: Whether it is a result of a job.

    Raises:
        ValueError: `to_document` did not write the document.
    """
    if not isinstance(document, dict) or document.keys() - MEMBERS or ("job" in document) != of_job:
        raise ValueError("not a document of this command")
    _check_types(document, {"image": str, **({"job": str, "index": int} if of_job else {})})
    image = JobItem(document["job"], document["index"], document["image"]) if of_job else document["image"]
    if "problem" in document:
        _check_types(document["problem"], PROBLEM_TYPES)
        return Record(image, None)
    _check_types(document, ANSWER_TYPES)
    _check_types(document.get("model"), {"name": str, "version": int})
    return Record(image, document["model"]["name"], document["model"]["version"])


def _check_types(document: Any, types: Mapping[str, type | tuple[type, ...]]) -> None:
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004  # all faults of a document are one error
    for name, accepted in types.items():
        if isinstance(value := document.get(name), bool) or not isinstance(value, accepted):
            raise ValueError(f"{name} has another type")  # noqa: TRY004  # as above


def _identify(image: Item) -> Document:
    if isinstance(image, JobItem):
        return {"job": image.job, "index": image.index, "image": image.image}
    return {"image": image}


def _problem_document(problem: Problem) -> Document:
    document: Document = {"type": problem.type, "title": problem.title}
    if problem.status is not None:
        document["status"] = problem.status
    document |= {"detail": problem.detail, **problem.members}
    return document | {"request_id": problem.request_id} if problem.request_id else document


def _prediction_documents(predictions: Sequence[Prediction]) -> list[Document]:
    return [
        {"class": item.label, "label": item.label, "class_id": item.class_id, "score": item.score}
        for item in predictions
    ]


def columns(top_k: int, *, of_job: bool = False) -> list[str]:
    """Return the names of the CSV columns for `top_k` ranked classes, or those of the results of a job."""
    others = [f"{name}_{rank}" for rank in range(2, top_k + 1) for name in ("class", "score")]
    return [
        *(["job", "index"] if of_job else []),
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


def to_row(image: Item, outcome: Outcome, top_k: int) -> list[object]:
    """Return an outcome as the cells of the columns `columns(top_k)`, of which no spreadsheet makes a formula."""
    values = {**_identify(image), **_values(outcome, top_k)}
    return [_escape(values.get(name, "")) for name in columns(top_k, of_job=isinstance(image, JobItem))]


def _values(outcome: Outcome, top_k: int) -> Document:
    if isinstance(outcome, Problem):
        return {"problem": outcome.title, "detail": outcome.detail}
    values: Document = {
        "class": outcome.label,
        "class_id": outcome.class_id,
        "score": outcome.score,
        "classes": "; ".join(item.label for item in outcome.classes or ()),
        "model": outcome.model.name,
        "version": outcome.model.version,
        "confident": "" if outcome.confident is None else json.dumps(outcome.confident),
    }
    for rank, item in enumerate(outcome.predictions[1:top_k], 2):
        values |= {f"class_{rank}": item.label, f"score_{rank}": item.score}
    return values


def from_row(row: Sequence[str], top_k: int, *, of_job: bool = False) -> Record:
    """Parse a row written by `to_row`.

    Raises:
        ValueError: The row has another number of cells, or another index or version than a number.
    """
    values = dict(zip(columns(top_k, of_job=of_job), map(_unescape, row), strict=True))
    image = JobItem(values["job"], int(values["index"]), values["image"]) if of_job else values["image"]
    return Record(image, None) if values["problem"] else Record(image, values["model"], int(values["version"]))


def _escape(value: object) -> object:
    """Return a cell of which no spreadsheet makes a formula; an escaped one gets a second escape, to tell it apart."""
    return f"{ESCAPE}{value}" if isinstance(value, str) and FORMULA.match(value) else value


def _unescape(cell: str) -> str:
    return cell.removeprefix(ESCAPE) if FORMULA.match(cell) else cell
