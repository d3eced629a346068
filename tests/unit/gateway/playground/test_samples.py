"""The page offers golden images of a version as samples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gateway.health.readiness import GOLDEN
from gateway.playground.routes import SAMPLE_MAX_BYTES
from image_gateway_client.keys import hash_key, make_key

URL = "/playground/samples/pets/1"


@pytest.fixture
def write_golden(tmp_path: Path, png: bytes) -> Callable[..., Path]:
    """Return a function that writes golden images of version 1 of `pets`, from pairs of a file name and a class."""

    def write(*images: tuple[str, str], document: Any = None) -> Path:
        folder = (tmp_path / "pets" / "1" / GOLDEN).parent
        folder.mkdir(parents=True)
        listed = {"images": [{"file": name, "class": label} for name, label in images]}
        (folder / GOLDEN.name).write_text(json.dumps(document or listed), encoding="utf-8")
        for name, _ in images:
            if "/" not in name:
                (folder / name).write_bytes(png)
        return folder

    return write


def labels(client: FlaskClient) -> list[str]:
    return [sample["label"] for sample in client.get(URL).get_json()["samples"]]


def test_each_class_has_one_sample_that_can_be_loaded(client: FlaskClient, write_golden, png: bytes):
    write_golden(("00.png", "cat"), ("01.png", "dog"), ("02.png", "cat"))

    assert client.get(URL).get_json() == {
        "samples": [{"label": "cat", "name": "00.png"}, {"label": "dog", "name": "01.png"}]
    }
    response = client.get(f"{URL}/1")
    assert (response.status_code, response.mimetype, response.data) == (200, "image/png", png)


def test_a_sample_that_the_browser_has_is_not_sent_again(client: FlaskClient, write_golden):
    write_golden(("00.png", "cat"))
    etag = client.get(f"{URL}/0").headers["ETag"]

    assert client.get(f"{URL}/0", headers={"If-None-Match": etag}).status_code == 304


def test_a_version_without_golden_images_has_no_samples(client: FlaskClient):
    assert labels(client) == []
    assert client.get(f"{URL}/0").get_json()["type"] == "/problems/version-not-found"


@pytest.mark.parametrize("document", [[], {"images": 3}, {"images": [{"file": "00.png"}]}, {"images": [None]}])
def test_a_damaged_list_has_no_samples(client: FlaskClient, write_golden, document: Any):
    write_golden(document=document)

    assert labels(client) == []


@pytest.mark.parametrize("name", ["../../../secret", "/etc/passwd", "..", "", ".", "a\0b", "missing/../00.png"])
def test_a_list_cannot_name_files_elsewhere(client: FlaskClient, write_golden, tmp_path: Path, name: str):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "secret").write_bytes(b"secret")
    write_golden(document={"images": [{"file": name, "class": "cat"}]})

    assert labels(client) == []


def test_a_file_that_is_not_an_image_is_not_sent(client: FlaskClient, write_golden):
    folder = write_golden(("00.png", "cat"))
    (folder / "00.png").write_bytes(b"secret")

    response = client.get(f"{URL}/0")

    assert (response.status_code, response.get_json()["type"]) == (404, "/problems/version-not-found")


def test_a_large_image_is_left_out(client: FlaskClient, write_golden, png: bytes):
    folder = write_golden(("00.png", "cat"), ("01.png", "cat"), ("02.png", "dog"))
    for name in ("00.png", "02.png"):
        (folder / name).write_bytes(png.ljust(SAMPLE_MAX_BYTES + 1, b"\0"))

    assert client.get(URL).get_json()["samples"] == [{"label": "cat", "name": "01.png"}]


def test_there_are_no_more_samples_than_the_setting_allows(make_app: Callable[..., Flask], write_golden):
    write_golden(("00.png", "cat"), ("01.png", "dog"), ("02.png", "fish"))

    assert labels(make_app(samples_max_images=2).test_client()) == ["cat", "dog"]
    assert labels(make_app(samples_max_images=0).test_client()) == []


def test_a_model_that_is_not_configured_has_no_samples(client: FlaskClient):
    response = client.get("/playground/samples/none/1")

    assert (response.status_code, response.get_json()["type"]) == (404, "/problems/model-not-found")


def test_samples_need_a_key_where_predictions_do(make_app: Callable[..., Flask], write_golden):
    write_golden(("00.png", "cat"))
    key = make_key("page")
    client = make_app(api_keys=(hash_key("page", key),)).test_client()

    assert client.get(f"{URL}/0").status_code == 401
    response = client.get(f"{URL}/0", headers={"Authorization": f"Bearer {key}"})
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "private, no-cache"
