"""What the API answers, member by member: the views build these, the OpenAPI document describes them.

Dictionaries with types, since an answer needs no more: the type checker holds the views to them, and nothing is
validated or copied while a request is answered.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict  # before Python 3.12 pydantic cannot read typing's own

from vision.card import Card, Task

Score = Annotated[float, Field(ge=0, le=1, description="Probability, 0..1.")]

Heat = Annotated[float, Field(ge=0, le=1)]

# As a call, since `class` is a word of Python.
Prediction = TypedDict(
    "Prediction",
    {
        "class": Annotated[str, Field(description="Label of the class.")],
        "class_id": Annotated[int, Field(ge=0, description="Its place among the model's labels, from 0.")],
        "score": Score,
    },
)


class ModelVersion(TypedDict):
    """The model, and the version of it, that answered.

    Attributes:
        name: Name the model is served under.
        version: Number of the version.
    """

    name: str
    version: int


# As calls, since `class` is a word of Python.
DrawnHeatMap = TypedDict(
    "DrawnHeatMap",
    {
        "class": Annotated[str, Field(description="Label of the best class, which is the one explained.")],
        "class_id": Annotated[int, Field(ge=0, description="Its place among the model's labels, from 0.")],
        "heatmap": Annotated[
            str, Field(description="Where the model looked, over the part of the image that it saw: a PNG as data URI.")
        ],
    },
)
HeatMap = TypedDict(
    "HeatMap",
    {
        "class": Annotated[str, Field(description="Label of the best class, which is the one explained.")],
        "class_id": Annotated[int, Field(ge=0, description="Its place among the model's labels, from 0.")],
        "height": Annotated[int, Field(ge=1, description="Rows of the map.")],
        "width": Annotated[int, Field(ge=1, description="Columns of the map.")],
        "heatmap": Annotated[
            list[list[Heat]], Field(description="Rows, top to bottom, over the part of the image that the model saw.")
        ],
    },
)


class Result(Prediction):
    """What a model says about one image; `class`, `class_id` and `score` are those of the best class.

    Attributes:
        predictions: The best classes, best first; ties by the lower `class_id`.
        classes: Of a multi-label model only: every class at or above its threshold, best first.
        explanation: Only where `explain` asks for it: where the model looked for the best class.
    """

    predictions: list[Prediction]
    classes: NotRequired[list[Prediction]]
    explanation: NotRequired[DrawnHeatMap | HeatMap]


class Answer(Result):
    """The answer to one image.

    Attributes:
        model: What answered.
        request_id: Found again in the log, and in the header X-Request-ID.
    """

    model: ModelVersion
    request_id: str


class ItemProblem(TypedDict):
    """Why one image of a batch has no result: a problem (RFC 9457), with what its type adds.

    Attributes:
        type: What a program tells it by, as where it is the answer to the whole request.
        title: What it is, the same in every occurrence.
        status: HTTP status code that the image would have got by itself.
        detail: What went wrong this time, what was expected and what to do.
    """

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # it is there that pydantic looks

    type: str
    title: str
    status: int
    detail: str


class BatchAnswer(TypedDict):
    """The answer to a batch.

    Attributes:
        results: For each image, in order, what the model says about it, or the problem that stood against it.
        model: What answered, the same version for all.
        request_id: Found again in the log, and in the header X-Request-ID.
    """

    results: list[Result | ItemProblem]
    model: ModelVersion
    request_id: str


class ModelSummary(TypedDict):
    """A model that is offered, and what can be said of it now.

    Attributes:
        name: Name the model is served under.
        default: Whether it answers requests that name none.
        available: Whether a version of it can be used now; the members below but `reason` are there only then.
        reason: Why it is not available.
        version: Number of the version that answers.
        title: A name for people; may be empty.
        description: A sentence or two for people; may be empty.
        task: `multiclass`: exactly one label is right. `multilabel`: any number of them.
        labels: Label of each class, by `class_id`.
        explainable: Whether `explain` can be asked of it.
    """

    name: str
    default: bool
    available: bool
    reason: NotRequired[str]
    version: NotRequired[int]
    title: NotRequired[str]
    description: NotRequired[str]
    task: NotRequired[Task]
    labels: NotRequired[list[str]]
    explainable: NotRequired[bool]


class ModelList(TypedDict):
    """The models offered.

    Attributes:
        models: In the order of `models.config`.
    """

    models: list[ModelSummary]


class VersionState(TypedDict):
    """A version that the model server knows.

    Attributes:
        version: Its number.
        state: As TensorFlow Serving names it.
        labels: Names that it can be asked by too, where `models.config` gives it any; not those of its classes.
        reason: What it says of it, where it failed.
    """

    version: int
    state: str
    labels: NotRequired[list[str]]
    reason: NotRequired[str]


class ModelDetails(ModelSummary):
    """One model, with its versions and its card.

    Attributes:
        card: What the model expects and means, as it was exported.
        versions: Newest first.
    """

    card: NotRequired[Card]
    versions: list[VersionState]


class Live(TypedDict):
    """The process answers."""

    status: Literal["live"]


class Ready(TypedDict):
    """The default model can be used.

    Attributes:
        model: The version that answers.
    """

    status: Literal["ready"]
    model: ModelVersion


class Description(TypedDict):
    """This API, as OpenAPI 3.1 describes it."""

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]
