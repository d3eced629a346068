"""Responses of the API, member by member: the views return these types and the OpenAPI document describes them.

They are typed dictionaries: the type checker holds the views to them, and nothing is validated or copied while a
request is answered.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypeAliasType, TypedDict  # before Python 3.12 pydantic cannot read typing's own

from vision.card import Card, Task

Score = Annotated[float, Field(ge=0, le=1, description="Probability, 0..1.")]

Heat = Annotated[float, Field(ge=0, le=1)]

# Made by a call, since `class` is a keyword in Python.
ClassScore = TypedDict(
    "ClassScore",
    {
        "class": Annotated[str, Field(description="The same as `label`.")],
        "label": Annotated[str, Field(description="Label of the class.")],
        "class_id": Annotated[int, Field(ge=0, description="Index of the class among the model's labels, from 0.")],
        "score": Score,
    },
)


class ModelVersion(TypedDict):
    """The model, and its version, that answered.

    Attributes:
        name: Name the model is served under.
        version: Number of the version.
    """

    name: str
    version: int


# Made by calls, since `class` is a keyword in Python.
DrawnHeatMap = TypedDict(
    "DrawnHeatMap",
    {
        "kind": Annotated[Literal["image"], Field(description="Distinguishes it from a map of numbers.")],
        "class": Annotated[str, Field(description="The same as `label`.")],
        "label": Annotated[str, Field(description="Label of the best class, which is the one explained.")],
        "class_id": Annotated[int, Field(ge=0, description="Index of the class among the model's labels, from 0.")],
        "heatmap": Annotated[
            str, Field(description="Where the model looked, over the part of the image that it saw: a PNG as data URI.")
        ],
    },
)
HeatMap = TypedDict(
    "HeatMap",
    {
        "kind": Annotated[Literal["raw"], Field(description="Distinguishes it from a drawn map.")],
        "class": Annotated[str, Field(description="The same as `label`.")],
        "label": Annotated[str, Field(description="Label of the best class, which is the one explained.")],
        "class_id": Annotated[int, Field(ge=0, description="Index of the class among the model's labels, from 0.")],
        "height": Annotated[int, Field(ge=1, description="Rows of the map.")],
        "width": Annotated[int, Field(ge=1, description="Columns of the map.")],
        "heatmap": Annotated[
            list[list[Heat]], Field(description="Rows, top to bottom, over the part of the image that the model saw.")
        ],
    },
)


Explanation = TypeAliasType("Explanation", HeatMap | DrawnHeatMap)
"""Unions have names, since generators of clients would invent some. A client that tries one type after the other must
begin with the one that has most members."""


class Prediction(ClassScore):
    """What a model predicts for one image; `class`, `label`, `class_id` and `score` are those of the best class.

    Attributes:
        kind: Tells it from the problem of an image and from the response to a batch.
        confident: Whether the model is sure of the best class; false means "not sure". Absent if the model's card has
            no `abstain_below`, as for every multi-label model.
        predictions: The best classes, best first; ties are ordered by `class_id`.
        classes: Only for a multi-label model: every class at or above its threshold, best first.
        explanation: Only if requested by `explain`: where the model looked for the best class.
    """

    kind: Literal["prediction"]
    confident: NotRequired[bool]
    predictions: list[ClassScore]
    classes: NotRequired[list[ClassScore]]
    explanation: NotRequired[Explanation]


class PredictionResponse(Prediction):
    """The response to one image.

    Attributes:
        model: The model version that answered.
        request_id: Identifies the request in the log; also in the header X-Request-ID.
    """

    model: ModelVersion
    request_id: str


class ItemProblem(TypedDict):
    """Why one image of a batch has no prediction: a problem (RFC 9457) with the members of its type.

    It may also have `field`, which says what of the request to change.

    Attributes:
        kind: Tells it from a prediction.
        type: Identifies the kind of problem, as in a response to a whole request.
        title: Name of the kind of problem, the same in every occurrence.
        status: HTTP status code that the image would have had in a request of its own.
        detail: What was received, what is accepted and what to do.
    """

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # pydantic reads it from here

    kind: Literal["problem"]
    type: str
    title: str
    status: int
    detail: str


PredictionOrProblem = TypeAliasType("PredictionOrProblem", Prediction | ItemProblem)


class BatchPredictionResponse(TypedDict):
    """The response to a batch.

    Attributes:
        kind: Tells it from the response to one image.
        results: For each image, in order, the model's prediction or the problem that prevented it.
        answered: Number of results that are predictions.
        failed: Number of results that are problems.
        model: The model version that answered, the same for all.
        request_id: Identifies the request in the log; also in the header X-Request-ID.
    """

    kind: Literal["batch"]
    results: list[PredictionOrProblem]
    answered: int
    failed: int
    model: ModelVersion
    request_id: str


PredictionOrBatch = TypeAliasType("PredictionOrBatch", PredictionResponse | BatchPredictionResponse)


class ModelSummary(TypedDict):
    """A configured model and its present state.

    Attributes:
        name: Name the model is served under.
        default: Whether it answers requests that name no model.
        available: Whether a version of it can be used now. If not, only `reason` follows.
        reason: Why it is not available.
        version: Number of the version that answers.
        title: A display name; may be empty.
        description: A sentence or two about the model; may be empty.
        task: `multiclass`: exactly one label is right. `multilabel`: any number of labels are right.
        labels: Label of each class, by `class_id`.
        explainable: Whether the model supports `explain`.
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
    """The configured models.

    Attributes:
        models: In the order of `models.config`.
    """

    models: list[ModelSummary]


class VersionState(TypedDict):
    """A version that the model server has.

    Attributes:
        version: Number of the version.
        state: State, as TensorFlow Serving names it.
        labels: Version labels that `models.config` assigns to it; these are not the labels of its classes.
        reason: What the model server reports about a version that failed.
    """

    version: int
    state: str
    labels: NotRequired[list[str]]
    reason: NotRequired[str]


class ModelDetails(ModelSummary):
    """One model, with its versions and its card.

    Attributes:
        card: What the model expects and what its output means, as it was exported.
        versions: Newest first.
    """

    card: NotRequired[Card]
    versions: list[VersionState]


class Version(TypedDict):
    """The version of the gateway.

    Attributes:
        name: Always `image-gateway`.
        version: The version, by semantic versioning.
    """

    name: Literal["image-gateway"]
    version: str


class Live(TypedDict):
    """The process responds."""

    status: Literal["live"]


class Ready(TypedDict):
    """The default model can be used.

    Attributes:
        model: The model version that answers.
    """

    status: Literal["ready"]
    model: ModelVersion


class Description(TypedDict):
    """This API, as an OpenAPI 3.1 document."""

    openapi: str
    info: dict[str, Any]
    servers: list[Any]
    security: list[Any]
    tags: list[Any]
    paths: dict[str, Any]
    components: dict[str, Any]
