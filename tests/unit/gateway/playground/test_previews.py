"""The page shows a small JPEG of an image that the service fetches."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray

from gateway.fetching.fetcher import DisabledFetcher
from tests.support.image_files import encoded_with_orientation

URL = "https://images.example/photo"
PREVIEW = "/playground/preview"


def encode(pixels: NDArray[np.uint8], suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def preview(client: FlaskClient) -> NDArray[np.uint8]:
    response = client.post(PREVIEW, json={"url": URL})
    assert (response.status_code, response.mimetype) == (200, "image/jpeg"), response.text
    assert response.headers["Cache-Control"] == "no-store"
    return np.asarray(cv2.imdecode(np.frombuffer(response.data, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def test_a_large_image_is_shown_smaller_in_its_proportions_and_colours(client: FlaskClient, images_by_url):
    images_by_url[URL] = encode(np.full((500, 1000, 3), (200, 100, 50), np.uint8))

    shown = preview(client)

    assert shown.shape == (320, 640, 3)
    assert np.abs(shown.astype(int) - (200, 100, 50)).max() <= 4


def test_a_small_image_keeps_its_size(client: FlaskClient, images_by_url):
    images_by_url[URL] = encode(np.zeros((3, 70), np.uint8))

    assert preview(client).shape == (3, 70, 3)


def test_a_thin_image_has_a_preview(client: FlaskClient, images_by_url):
    images_by_url[URL] = encode(np.zeros((1, 9000), np.uint8))

    assert preview(client).shape == (1, 640, 3)


def test_a_turned_photo_is_shown_upright(client: FlaskClient, images_by_url):
    images_by_url[URL] = encoded_with_orientation(np.zeros((400, 1000, 3), np.uint8), ".jpg", 6)

    assert preview(client).shape == (640, 256, 3)


def test_the_setting_limits_the_longer_side(make_app: Callable[..., Flask], images_by_url):
    images_by_url[URL] = encode(np.zeros((400, 800), np.uint8))

    assert preview(make_app(preview_max_side=100).test_client()).shape == (50, 100, 3)


def test_what_is_not_an_image_is_never_passed_on(client: FlaskClient, images_by_url):
    images_by_url[URL] = b"<html>secret</html>"

    response = client.post(PREVIEW, json={"url": URL})

    assert (response.status_code, response.get_json()["type"]) == (415, "/problems/unsupported-image-format")
    assert b"secret" not in response.data


def test_an_image_that_is_too_large_is_refused(make_app: Callable[..., Flask], images_by_url):
    images_by_url[URL] = encode(np.zeros((40, 40), np.uint8))

    response = make_app(max_pixels=1000).test_client().post(PREVIEW, json={"url": URL})

    assert response.get_json()["type"] == "/problems/image-too-large"


def test_a_failed_fetch_says_why(client: FlaskClient):
    response = client.post(PREVIEW, json={"url": URL})

    assert response.get_json()["type"] == "/problems/fetch-failed"
    assert "status 404" in response.get_json()["detail"]


def test_a_gateway_that_fetches_nothing_shows_nothing(make_app: Callable[..., Flask]):
    response = make_app(fetcher=DisabledFetcher()).test_client().post(PREVIEW, json={"url": URL})

    assert (response.status_code, response.get_json()["type"]) == (422, "/problems/fetch-refused")


@pytest.mark.parametrize(
    "body", [{"image": "AAAA"}, {"instances": [{"url": URL}, {"url": URL}]}, {}], ids=["upload", "several", "none"]
)
def test_only_one_url_is_accepted(client: FlaskClient, body):
    response = client.post(PREVIEW, json=body)

    assert (response.status_code, response.get_json()["type"]) == (400, "/problems/bad-request")
