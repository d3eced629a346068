"""What a model says about images, as the members of the API's answers."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import GatewayError
from gateway.models.binding import ServedModel
from gateway.prediction import schemas
from gateway.prediction.classifier import Answer, Classifier, Explanation, Inquiry
from gateway.prediction.image_loader import ImageSource
from vision.postprocess import ClassScore

PNG_DATA_URI = "data:image/png;base64,"  # RFC 2397
HEAT_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Results:
    """What one version of a model says about the images of a request.

    Attributes:
        model: The version that answers.
        items: In the order of the images; where one cannot be answered, why.
        cache_status: How the cache took part in it (RFC 9211); None where there is none.
    """

    model: ServedModel
    items: Sequence[schemas.Result | GatewayError]
    cache_status: str | None = None


class Answering(Protocol):
    """Answers what images show; see `Classifier.classify`."""

    def answer(self, sources: Sequence[ImageSource | GatewayError], asked: Inquiry) -> Results:
        """Ask one version of a model about every image.

        Raises:
            GatewayError: none of them can be answered, for a reason common to all; the subclass tells which.
        """


@dataclass(frozen=True, slots=True)
class Direct:
    """Asks the model server each time."""

    classifier: Classifier

    def answer(self, sources: Sequence[ImageSource | GatewayError], asked: Inquiry) -> Results:
        """Ask; see `Answering`."""
        answered = self.classifier.classify(sources, asked)
        items = [item if isinstance(item, GatewayError) else _result(item) for item in answered.results]
        return Results(answered.model, items)


def _result(answer: Answer) -> schemas.Result:
    document: schemas.Result = {
        "class": answer.best.label,
        "class_id": answer.best.class_id,
        "score": answer.best.score,
        "predictions": _predictions(answer.predictions),
    }
    if answer.present is not None:
        document["classes"] = _predictions(answer.present)
    if answer.explanation is not None:
        document["explanation"] = _explanation(answer.best, answer.explanation)
    return document


def _explanation(best: ClassScore, explanation: Explanation) -> schemas.DrawnHeatMap | schemas.HeatMap:
    if explanation.drawing is not None:
        drawing = PNG_DATA_URI + base64.b64encode(explanation.drawing).decode()
        return {"class": best.label, "class_id": best.class_id, "heatmap": drawing}
    height, width = explanation.heat.shape
    numbers = [[round(value, HEAT_DIGITS) for value in row] for row in explanation.heat.tolist()]
    return {"class": best.label, "class_id": best.class_id, "height": height, "width": width, "heatmap": numbers}


def _predictions(predictions: Sequence[ClassScore]) -> list[schemas.Prediction]:
    return [{"class": item.label, "class_id": item.class_id, "score": item.score} for item in predictions]
