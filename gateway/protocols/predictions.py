"""The scores of all classes of every image: these protocols have neither a ranking nor an error for each image."""

from collections.abc import Sequence

from gateway.errors import GatewayError
from gateway.http.request_parser import MAX_TOP_K
from gateway.prediction import schemas
from gateway.prediction.predictor import PredictionOptions, PredictionResult

ALL_CLASSES = PredictionOptions(top_k=MAX_TOP_K)


def require_all(result: PredictionResult) -> Sequence[schemas.Prediction]:
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
