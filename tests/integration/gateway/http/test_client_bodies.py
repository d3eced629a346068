"""Every client is answered over a real gunicorn, and the gateway reads the image that it sent."""

import base64
import json
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest

from gateway.http.json_objects import JsonLimits
from gateway.prediction.image_loader import ImageBytes
from gateway.prediction.predictor import PredictionRequest
from tests.support.client_bodies import ClientRequest, client_requests
from tests.support.gated_model_server import GatedPredictions, serve
from tests.support.image_files import encoded
from tests.support.light_gateway import LightGateway, light_gateway
from tests.support.wsgi_requests import make_parse

IMAGE = encoded(np.random.default_rng(3).integers(0, 255, (24, 24, 3), np.uint8), ".png")
REQUESTS = client_requests(IMAGE)
PARSE = make_parse(max_bytes=100_000, max_images=4, max_parts=12, limits=JsonLimits(max_depth=8, max_values=100))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LightGateway]:
    folder = tmp_path_factory.mktemp("gateway")
    with serve(GatedPredictions()) as address:
        variables = {"GATEWAY_TFS_TARGET": address, "GATEWAY_MODELS": "slow"}
        with light_gateway(folder, subprocess.DEVNULL, variables) as gateway:
            yield gateway


def test_there_are_many_clients_and_their_base64_has_a_plus():
    assert len(REQUESTS) > 60
    assert b"+" in base64.b64encode(IMAGE)


@pytest.mark.parametrize("client", REQUESTS)
def test_a_client_is_answered(gateway: LightGateway, client: str):
    response, body = gateway.send(REQUESTS[client].encode())

    assert response.status == 200, body.decode()
    document = json.loads(body)
    assert "class" in document.get("results", [document])[0]


@pytest.mark.parametrize("client", REQUESTS)
def test_the_image_is_the_one_that_the_client_sent(client: str):
    request: ClientRequest = REQUESTS[client]

    parsed = PARSE(request.content_type, request.body)

    assert isinstance(parsed, PredictionRequest), parsed
    assert parsed.images == [ImageBytes(IMAGE)]
