"""The client of an Image Gateway: pictures in, named classes out.

    from client import ImageGatewayClient

    with ImageGatewayClient("http://localhost:8080") as gateway:
        print(gateway.prediction.classifier("photo.jpg").label)

Needs requests alone; the command `image-gateway`, over the same client, also typer and rich.
"""

from client.answers import Answer, Explanation, Health, Model, ModelVersion, Prediction, VersionState
from client.api import ImageGatewayClient
from client.errors import ImageGatewayError, NoAnswerError, Problem, ProblemError, UnexpectedAnswerError

__all__ = [
    "Answer",
    "Explanation",
    "Health",
    "ImageGatewayClient",
    "ImageGatewayError",
    "Model",
    "ModelVersion",
    "NoAnswerError",
    "Prediction",
    "Problem",
    "ProblemError",
    "UnexpectedAnswerError",
    "VersionState",
]
