"""Python client of Image Gateway: send images, receive classes with their probabilities.

    from image_gateway_client import Client

    with Client("http://localhost:8080") as client:
        print(client.classify("photo.jpg").label)

The library needs only requests; the command `image-gateway`, built on it, also needs typer and rich.
"""

from image_gateway_client.answers import Answer, Explanation, Health, Model, ModelVersion, Prediction, VersionState
from image_gateway_client.api import Client
from image_gateway_client.errors import ImageGatewayError, NoAnswerError, Problem, ProblemError, UnexpectedAnswerError

ImageGatewayClient = Client
"""The name of `Client` before version 0.2.0."""

__all__ = [
    "Answer",
    "Client",
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
