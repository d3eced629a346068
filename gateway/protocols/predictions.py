"""The scores of all classes of every image: these protocols have neither a ranking nor an error for each image."""

from collections.abc import Sequence

from flask import g

from gateway.errors import GatewayError
from gateway.http.request_context import unwrap
from gateway.http.request_parser import MAX_TOP_K
from gateway.http.views import classify
from gateway.models.registry import ModelTarget
from gateway.prediction import schemas
from gateway.prediction.image_loader import ImageSource
from gateway.prediction.predictor import PredictionOptions, PredictionRequest, PredictionResult, Predictor

ALL_CLASSES = PredictionOptions(top_k=MAX_TOP_K)


def predict_all(
    predictor: Predictor, images: Sequence[ImageSource], target: ModelTarget, *, max_classes: int
) -> tuple[PredictionResult, Sequence[schemas.Prediction]]:
    """Classify the images of the present request, and return the result with the prediction for each of them.

    Args:
        predictor: Classifies the images.
        images: The images.
        target: The model.
        max_classes: Number of classes of a model that are counted separately.

    Raises:
        GatewayError: One cannot be classified; see `classify`.
    """
    context = unwrap(g)
    request = PredictionRequest(
        images,
        target,
        ALL_CLASSES,
        context.deadline,
        context.request_id,
        is_batch=True,
        timings=context.timings,
        place=context.place,
    )
    result = classify(predictor, request, max_classes=max_classes)
    predictions = _require_all(result)
    context.log_fields = {"images": len(predictions)}
    return result, predictions


def _require_all(result: PredictionResult) -> Sequence[schemas.Prediction]:
    """Return the prediction for each image.

    Raises:
        GatewayError: That of the first image that has none; it says which image that is.
    """
    predictions: list[schemas.Prediction] = []
    for number, prediction in enumerate(result.predictions, 1):
        if isinstance(prediction, GatewayError):
            if len(result.predictions) > 1:
                prediction.detail = f"Image {number} of {len(result.predictions)}: {prediction.detail}"
            prediction.model_version = (result.model.name, result.model.version)
            raise prediction
        predictions.append(prediction)
    return predictions


def class_scores(prediction: schemas.Prediction) -> list[float]:
    """Return the score of each class, by its index; for a prediction with `ALL_CLASSES`."""
    ranking = prediction["predictions"]
    scores = [0.0] * len(ranking)
    for item in ranking:
        scores[item["class_id"]] = item["score"]
    return scores
