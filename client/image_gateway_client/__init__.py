"""Python client of Image Gateway: send images, receive classes with their probabilities.

    from image_gateway_client import Client

    with Client("http://localhost:8080") as client:
        print(client.classify("photo.jpg").label)

`AsyncClient` has the same methods for asyncio. The library needs only httpx; the command `image-gateway`, built on it,
also needs typer and rich.
"""

from image_gateway_client.answers import (
    Answer,
    Batch,
    Explanation,
    Health,
    Model,
    ModelVersion,
    Prediction,
    VersionState,
)
from image_gateway_client.async_client import AsyncClient
from image_gateway_client.client import Client
from image_gateway_client.errors import ImageGatewayError, NoAnswerError, Problem, ProblemError, UnexpectedAnswerError
from image_gateway_client.jobs.job import Job, JobModel, JobNotFinishedError, JobResult, Webhook

ImageGatewayClient = Client
"""The name of `Client` before version 0.2.0."""

__all__ = [
    "Answer",
    "AsyncClient",
    "Batch",
    "Client",
    "Explanation",
    "Health",
    "ImageGatewayClient",
    "ImageGatewayError",
    "Job",
    "JobModel",
    "JobNotFinishedError",
    "JobResult",
    "Model",
    "ModelVersion",
    "NoAnswerError",
    "Prediction",
    "Problem",
    "ProblemError",
    "UnexpectedAnswerError",
    "VersionState",
    "Webhook",
]
