"""A newcomer follows a photo from the request's body to the JSON of the response through a bounded number of files."""

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from gateway.app import create_app
from gateway.model_client.protocol import ModelServer
from gateway.models.configured import ConfiguredModels
from gateway.services import connect, make_fetcher
from gateway.settings import Settings
from tests.support.fake_model_server import FakeModelServer, classifier, constant
from tests.support.gated_model_server import GatedPredictions, serve
from tests.support.multipart import encode
from vision.card import Card, InputSpec

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway/", "vision/", "tfs_api/")
MAX_FILES = 14
ARCHITECTURE = ROOT / "docs" / "architecture.md"


@contextmanager
def traced_files() -> Iterator[list[str]]:
    """Collect the files of our packages whose functions are called inside, in the order of their first call."""
    files: dict[str, None] = {}

    def trace(frame, event, _):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(f"{ROOT}/"):
            relative = path.removeprefix(f"{ROOT}/")
            if relative.startswith(PACKAGES):
                files[relative] = None

    collected: list[str] = []
    sys.setprofile(trace)
    try:
        yield collected
    finally:
        sys.setprofile(None)
        collected.extend(files)


def traced_photo(server: ModelServer, configured_models: ConfiguredModels, cards_dir: Path) -> list[str]:
    """Return the files that one photo, sent as curl sends it, passes through on a warm gateway."""
    settings = Settings(cards_dir=cards_dir)
    app = create_app(settings, server=server, fetcher=make_fetcher(settings), configured_models=configured_models)
    photo = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8))[1].tobytes()
    content_type, body = encode({"image": (io.BytesIO(photo), "cat.jpg")})
    client = app.test_client()

    def send() -> None:
        response = client.post("/api/v1/predict", data=body, content_type=content_type)
        assert response.status_code == 200, response.text

    send()
    with traced_files() as files:
        send()
    return files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files between the body of the request and the model server, and back to the JSON of the response."""
    card = Card(name="pets", labels=("cat", "dog", "fish"), input=InputSpec(height=32, width=32))
    server = FakeModelServer()
    server.swap("pets", 1, classifier(card, constant(0.2, 0.7, 0.1)))
    models = ConfiguredModels(lambda: {"pets": ()})  # `from_names` would add the file of its own function
    return traced_photo(server, models, tmp_path_factory.mktemp("cards"))


@pytest.fixture(scope="module")
def files_with_wire(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The same files and those of a deployed gateway: models.config, micro-batching and gRPC."""
    folder = tmp_path_factory.mktemp("models")
    config = folder / "models.config"
    config.write_text('model_config_list { config { name: "slow" } }')
    with serve(GatedPredictions()) as address:
        server = connect(Settings(tfs_target=address, calls_in_flight=2))
        return traced_photo(server, ConfiguredModels.from_file(config), folder)


def listed(name: str) -> list[str]:
    """Return the files that a marked section of docs/architecture.md lists."""
    page = ARCHITECTURE.read_text(encoding="utf-8")
    section = page.partition(f"<!-- {name}: begin -->")[2].partition(f"<!-- {name}: end -->")[0]
    return sorted(re.findall(r"`((?:gateway|vision|tfs_api)/[\w/]+\.py)`", section))


def test_a_photo_passes_through_few_files(files: list[str]):
    assert "gateway/http/views.py" in files
    assert "vision/decode.py" in files
    assert len(files) <= MAX_FILES, "\n".join(files)


def test_the_architecture_page_lists_these_files(files: list[str]):
    assert listed("photo path") == sorted(files)


def test_the_architecture_page_lists_what_a_deployed_gateway_adds(files: list[str], files_with_wire: list[str]):
    assert set(files) <= set(files_with_wire)
    assert listed("photo path over the wire") == sorted(set(files_with_wire) - set(files))
