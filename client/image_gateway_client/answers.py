"""What the gateway answers, read from its JSON. Members that are not known are left out, so that it can grow."""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from image_gateway_client.errors import Problem, UnexpectedAnswerError, parse_problem

EXCERPT_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Prediction:
    """One class and how sure the model is of it.

    Attributes:
        label: Name of the class.
        class_id: Its number, from 0.
        score: Probability in 0..1.
    """

    label: str
    class_id: int
    score: float


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """The version of a model that answered."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where in the picture the model saw a class.

    Attributes:
        label: Name of the class.
        class_id: Its number.
        png: With `explain=True` the heat map laid over the picture, as PNG; else None.
        values: With `explain="raw"` the heat map alone, float[h][w] in 0..1, row by row from the top; else None.
    """

    label: str
    class_id: int
    png: bytes | None
    values: tuple[tuple[float, ...], ...] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says about one image.

    Attributes:
        label: Name of the best class.
        class_id: Its number.
        score: Its probability in 0..1.
        predictions: The classes asked for, best first.
        classes: Of a multi-label model, every class at or above its threshold, best first; None of others.
        model: The version that answered.
        request_id: What the operator finds the request by in the log.
        explanation: Where the best class was seen, if that was asked.
    """

    label: str
    class_id: int
    score: float
    predictions: tuple[Prediction, ...]
    classes: tuple[Prediction, ...] | None
    model: ModelVersion
    request_id: str
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class VersionState:
    """One version of a model, served or not.

    Attributes:
        version: Its number.
        state: LOADING, AVAILABLE, UNLOADING or END.
        labels: Names that point at it, such as stable.
        reason: Why it is not available, where the model server tells.
    """

    version: int
    state: str
    labels: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """One of the models offered.

    Attributes:
        name: What requests name it by.
        default: Whether it answers requests that name none.
        available: Whether it answers now.
        version: The version that answers; None while none does.
        title: What it is, in a few words.
        description: The same at more length.
        task: multiclass or multilabel.
        labels: Names of its classes, by class number.
        reason: Why it is not available.
        versions: Every version known, newest first; empty in a list of models.
        card: All that the model says of itself; empty in a list of models.
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


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the gateway can be used.

    Attributes:
        ready: Whether it is: its default model answers.
        model: The version that does; None if none does.
        problem: Why it is not ready; None if it is.
    """

    ready: bool
    model: ModelVersion | None = None
    problem: Problem | None = None


@contextmanager
def understood(document: object, expected: str) -> Iterator[None]:
    """Turn the trip over a document of another form into one error.

    Raises:
        UnexpectedAnswerError: A member is missing or of another kind.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        found = repr(document)[:EXCERPT_LENGTH]
        raise UnexpectedAnswerError(f"expected {expected}, found {found} ({error!r})") from error


def parse_answer(document: Any) -> Answer:
    """Read the answer to one image.

    Raises:
        UnexpectedAnswerError: It is none.
    """
    with understood(document, "a prediction"):
        return _answer(document)


def parse_batch(document: Any, images: int) -> list[Answer | Problem]:
    """Read the answer to a batch: for each image its answer or its problem, in order.

    Raises:
        UnexpectedAnswerError: It is none, or one of another number of images.
    """
    with understood(document, f"the results of {images} images"):
        # Model and request are the same for all, and told once.
        shared = {"model": document.get("model"), "request_id": document["request_id"]}
        results = [_result({**shared, **item}) for item in document["results"]]
        if len(results) != images:
            raise ValueError(f"{len(results)} results")
        return results


def _result(item: Mapping[str, Any]) -> Answer | Problem:
    if "class" in item:
        return _answer(item)
    return parse_problem({name: value for name, value in item.items() if name != "model"})


def _answer(document: Mapping[str, Any]) -> Answer:
    best = _prediction(document)
    return Answer(
        label=best.label,
        class_id=best.class_id,
        score=best.score,
        predictions=_predictions(document["predictions"]),
        classes=_predictions(document["classes"]) if "classes" in document else None,
        model=_model_version(document["model"]),
        request_id=str(document["request_id"]),
        explanation=_explanation(document["explanation"]) if "explanation" in document else None,
    )


def _predictions(documents: list[Mapping[str, Any]]) -> tuple[Prediction, ...]:
    return tuple(map(_prediction, documents))


def _prediction(document: Mapping[str, Any]) -> Prediction:
    return Prediction(str(document["class"]), int(document["class_id"]), float(document["score"]))


def _model_version(document: Mapping[str, Any]) -> ModelVersion:
    return ModelVersion(str(document["name"]), int(document["version"]))


def _explanation(document: Mapping[str, Any]) -> Explanation:
    heatmap = document["heatmap"]
    png, values = None, None
    if isinstance(heatmap, str):
        png = base64.b64decode(heatmap.partition(",")[2], validate=True)
    else:
        values = tuple(tuple(map(float, row)) for row in heatmap)
    return Explanation(str(document["class"]), int(document["class_id"]), png, values)


def parse_models(document: Any) -> list[Model]:
    """Read the list of models.

    Raises:
        UnexpectedAnswerError: It is none.
    """
    with understood(document, "a list of models"):
        return [_model(item) for item in document["models"]]


def parse_model(document: Any) -> Model:
    """Read what is told about one model.

    Raises:
        UnexpectedAnswerError: It is no such document.
    """
    with understood(document, "a model"):
        return _model(document)


def _model(document: Mapping[str, Any]) -> Model:
    version = document.get("version")
    return Model(
        name=str(document["name"]),
        default=bool(document["default"]),
        available=bool(document["available"]),
        version=None if version is None else int(version),
        title=str(document.get("title", "")),
        description=str(document.get("description", "")),
        task=str(document.get("task", "")),
        labels=tuple(map(str, document.get("labels", ()))),
        reason=str(document.get("reason", "")),
        versions=tuple(map(_version_state, document.get("versions", ()))),
        card=dict(document.get("card", {})),
    )


def _version_state(document: Mapping[str, Any]) -> VersionState:
    return VersionState(
        version=int(document["version"]),
        state=str(document["state"]),
        labels=tuple(map(str, document.get("labels", ()))),
        reason=str(document.get("reason", "")),
    )


def parse_ready(document: Any) -> Health:
    """Read the answer of a gateway that is ready.

    Raises:
        UnexpectedAnswerError: It is none.
    """
    with understood(document, "a state of health"):
        return Health(ready=True, model=_model_version(document["model"]))
