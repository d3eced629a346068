"""Parse the gateway's JSON into dataclasses. Unknown members are ignored, so that the gateway can add some."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from image_gateway_client.errors import Problem, UnexpectedAnswerError, parse_problem
from image_gateway_client.members import MemberError, check_number, get_integer, get_member, get_number, get_text

EXCERPT_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class and its probability.

    Attributes:
        label: Name of the class.
        class_id: Number of the class, from 0.
        score: Probability in 0..1.
    """

    label: str
    class_id: int
    score: float


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """The version of a model that computed an answer."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """The image regions that led the model to a class.

    Attributes:
        label: Name of the class.
        class_id: Number of the class.
        png: With `explain=True`, the heat map over the image, as PNG; otherwise None.
        values: With `explain="raw"`, the heat map itself, float[h][w] in 0..1, row by row from the top; otherwise None.
    """

    label: str
    class_id: int
    png: bytes | None
    values: tuple[tuple[float, ...], ...] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """The classification of one image.

    Attributes:
        label: Name of the top class.
        class_id: Number of the top class.
        score: Probability of the top class, in 0..1.
        predictions: The requested number of classes, best first.
        classes: For a multi-label model, every class at or above its threshold, best first; otherwise None.
        model: The version of the model.
        request_id: The request's identifier in the gateway's log.
        explanation: The explanation of the top class, if one was requested.
        confident: Whether the model is sure of the top class; None if the model does not say.
    """

    label: str
    class_id: int
    score: float
    predictions: tuple[Prediction, ...]
    classes: tuple[Prediction, ...] | None
    model: ModelVersion
    request_id: str
    explanation: Explanation | None = None
    confident: bool | None = None


Outcome: TypeAlias = Answer | Problem
"""What became of one image."""


class Batch(list[Outcome]):
    """The outcomes of several images, in order."""

    @property
    def answered(self) -> int:
        """The number of images that have an answer."""
        return len(self) - self.failed

    @property
    def failed(self) -> int:
        """The number of images that have a problem."""
        return sum(isinstance(outcome, Problem) for outcome in self)


@dataclass(frozen=True, slots=True)
class VersionState:
    """One version of a model and its state.

    Attributes:
        version: Number of the version.
        state: LOADING, AVAILABLE, UNLOADING or END.
        labels: Labels that point to the version, such as stable.
        reason: Why it is not available, if the model server reports a reason.
    """

    version: int
    state: str
    labels: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """A model that the gateway offers.

    Attributes:
        name: Name of the model in requests.
        default: Whether it answers requests that name no model.
        available: Whether it can be used now.
        version: The version in use; None if none is available.
        title: A short title.
        description: A longer description.
        task: multiclass or multilabel.
        labels: Names of the classes, by class number.
        reason: Why it is not available.
        versions: Every known version, newest first; empty in a list of models.
        card: The model card; empty in a list of models.
        explainable: Whether it can explain its predictions.
    """

    name: str
    default: bool
    available: bool
    version: int | None = None
    title: str = ""
    description: str = ""
    task: str = ""
    labels: tuple[str, ...] = ()
    reason: str = ""
    versions: tuple[VersionState, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict, hash=False)
    explainable: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the gateway is ready.

    Attributes:
        ready: Whether its default model can be used.
        model: The version of the default model; None if the gateway is not ready.
        problem: Why the gateway is not ready; None if it is.
    """

    ready: bool
    model: ModelVersion | None = None
    problem: Problem | None = None


@contextmanager
def parsing(document: object, expected: str) -> Iterator[None]:
    """Turn any error while parsing a document into an UnexpectedAnswerError that quotes it.

    Raises:
        UnexpectedAnswerError: A member is missing or has the wrong type.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        text = document.decode(errors="replace") if isinstance(document, bytes) else json.dumps(document)
        fault = f" ({error})" if isinstance(error, MemberError) else ""
        raise UnexpectedAnswerError(f"expected {expected}, received {text[:EXCERPT_LENGTH]}{fault}") from error


def parse_answer(document: Any) -> Answer:
    """Parse the answer to one image.

    Raises:
        UnexpectedAnswerError: The document is not a prediction.
    """
    with parsing(document, "a prediction"):
        return _answer(document)


def parse_version(document: Any) -> str:
    """Parse the version of the gateway.

    Raises:
        UnexpectedAnswerError: The document is not an answer of /version.
    """
    with parsing(document, "the answer of /version"):
        return get_text(document, "version")


def parse_batch(document: Any, images: int) -> Batch:
    """Parse the answer to a batch into an answer or a problem for each image, in order.

    Raises:
        UnexpectedAnswerError: The document does not contain a result for each of the images.
    """
    with parsing(document, f"the results of {images} image{'' if images == 1 else 's'}"):
        # The model and the request are the same for all images and stated once.
        shared = {"model": document.get("model"), "request_id": get_text(document, "request_id")}
        results = Batch(parse_outcome({**shared, **item}) for item in get_member(document, "results"))
        if len(results) != images:
            raise MemberError(f"it has {len(results)} results")
        return results


def parse_outcome(item: Mapping[str, Any]) -> Outcome:
    """Parse an answer or a problem, which has no class.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: A member is missing or has the wrong type.
    """
    if "class_id" in item:
        return _answer(item)
    return parse_problem({name: value for name, value in item.items() if name not in {"kind", "model"}})


def _answer(document: Mapping[str, Any]) -> Answer:
    best = _prediction(document)
    confident = document.get("confident")
    return Answer(
        label=best.label,
        class_id=best.class_id,
        score=best.score,
        predictions=_predictions(get_member(document, "predictions")),
        classes=_predictions(get_member(document, "classes")) if "classes" in document else None,
        model=_model_version(get_member(document, "model")),
        request_id=get_text(document, "request_id"),
        explanation=_explanation(document["explanation"]) if "explanation" in document else None,
        confident=confident if isinstance(confident, bool) else None,
    )


def _predictions(documents: Any) -> tuple[Prediction, ...]:
    return tuple(map(_prediction, documents))


def _prediction(document: Mapping[str, Any]) -> Prediction:
    return Prediction(_label(document), get_integer(document, "class_id"), get_number(document, "score"))


def _label(document: Mapping[str, Any]) -> str:
    """Return the name of the class; older gateways call it `class` only."""
    return get_text(document, "label" if "label" in document else "class")


def _model_version(document: Mapping[str, Any]) -> ModelVersion:
    return ModelVersion(get_text(document, "name"), get_integer(document, "version"))


def _explanation(document: Mapping[str, Any]) -> Explanation:
    heatmap = get_member(document, "heatmap")
    png, values = None, None
    if isinstance(heatmap, str):
        png = base64.b64decode(heatmap.partition(",")[2], validate=True)
    else:
        values = tuple(tuple(check_number(value, "heatmap") for value in row) for row in heatmap)
    return Explanation(_label(document), get_integer(document, "class_id"), png, values)


def parse_models(document: Any) -> list[Model]:
    """Parse the list of models.

    Raises:
        UnexpectedAnswerError: The document is not a list of models.
    """
    with parsing(document, "a list of models"):
        return [_model(item) for item in get_member(document, "models")]


def parse_model(document: Any) -> Model:
    """Parse the details of one model.

    Raises:
        UnexpectedAnswerError: The document does not describe a model.
    """
    with parsing(document, "a model"):
        return _model(document)


def _model(document: Mapping[str, Any]) -> Model:
    return Model(
        name=get_text(document, "name"),
        default=bool(get_member(document, "default")),
        available=bool(get_member(document, "available")),
        version=None if document.get("version") is None else get_integer(document, "version"),
        title=str(document.get("title", "")),
        description=str(document.get("description", "")),
        task=str(document.get("task", "")),
        labels=tuple(map(str, document.get("labels", ()))),
        reason=str(document.get("reason", "")),
        versions=tuple(map(_version_state, document.get("versions", ()))),
        card=dict(document.get("card", {})),
        explainable=bool(document.get("explainable", False)),
    )


def _version_state(document: Mapping[str, Any]) -> VersionState:
    return VersionState(
        version=get_integer(document, "version"),
        state=get_text(document, "state"),
        labels=tuple(map(str, document.get("labels", ()))),
        reason=str(document.get("reason", "")),
    )


def parse_ready(document: Any) -> Health:
    """Parse the answer of a gateway that is ready.

    Raises:
        UnexpectedAnswerError: The document is not an answer of /readyz.
    """
    with parsing(document, "the answer of /readyz"):
        return Health(ready=True, model=_model_version(get_member(document, "model")))
