import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
from flask import Flask

from gateway.app import create_app
from gateway.deadline import Deadline
from gateway.errors import FetchRefusedError
from gateway.fetching.fetch import UrlFetcher
from gateway.fetching.fetcher import DisabledFetcher
from gateway.models.configured import ConfiguredModels
from gateway.services import connect, make_configured_models, make_fetcher
from gateway.settings import Settings, SettingsError
from tests.support.fake_model_server import FakeModelServer

ROOT = Path(__file__).parents[3]


def test_creating_an_app_starts_no_thread_and_calls_no_server(make_app: Callable[..., Flask], server: FakeModelServer):
    before = set(threading.enumerate())
    make_app()
    assert not set(threading.enumerate()) - before
    assert not server.calls


def test_an_app_is_garbage_collected_after_use(make_app: Callable[..., Flask], png: bytes):
    app = make_app()
    client = app.test_client()
    assert client.post("/api/v1/predict", data=png, content_type="image/png").status_code == 200
    app.extensions["registry"].watch(0.01, deadline_s=5)
    app.extensions["registry"].close()
    reference = weakref.ref(app)
    del app, client
    gc.collect()

    assert reference() is None


def test_apps_share_no_state(make_app: Callable[..., Flask], server: FakeModelServer, png: bytes):
    first, second = make_app().test_client(), make_app().test_client()
    first.post("/api/v1/predict", data=png, content_type="image/png")
    calls = server.calls["version_statuses"]
    second.post("/api/v1/predict", data=png, content_type="image/png")
    assert server.calls["version_statuses"] == calls + 1


def test_opencv_uses_one_thread(app: Flask):
    assert app
    assert cv2.getNumThreads() == 1


def test_limits_follow_the_settings(make_app: Callable[..., Flask]):
    config = make_app(max_body_bytes=4096).config
    assert config["MAX_CONTENT_LENGTH"] == 4096


def test_a_default_model_that_is_not_configured_is_refused(make_app: Callable[..., Flask]):
    with pytest.raises(SettingsError, match="GATEWAY_DEFAULT_MODEL='birds' is not among pets"):
        make_app(default_model="birds")


def test_fetching_can_be_disabled():
    fetcher = make_fetcher(Settings(fetch_enabled=False))
    assert isinstance(fetcher, DisabledFetcher)
    with pytest.raises(FetchRefusedError, match="does not fetch images by URL"):
        fetcher.fetch("https://x/", deadline=Deadline.after(1))
    assert isinstance(make_fetcher(Settings()), UrlFetcher)


def test_models_come_from_the_setting_or_from_the_file(tmp_path: Path):
    file = tmp_path / "models.config"
    file.write_text(
        'model_config_list { config { name: "digits" base_path: "/m" version_labels { key: "a" value: 1 } } }'
    )
    assert make_configured_models(Settings(models_config=file)).current() == {"digits": ("a",)}
    settings = Settings(models_config=file, models=("pets", "birds"))
    assert make_configured_models(settings).current() == {"pets": (), "birds": ()}


def test_an_unreadable_file_of_models_is_refused_with_the_names_of_the_settings(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"none\.config cannot be read.*GATEWAY_MODELS_CONFIG.*GATEWAY_MODELS"):
        make_configured_models(Settings(models_config=tmp_path / "none.config"))


def test_connecting_does_not_wait_for_the_server(settings: Settings):
    server = connect(settings.model_copy(update={"tfs_target": "127.0.0.1:1"}))
    app = create_app(
        settings, server=server, fetcher=DisabledFetcher(), configured_models=ConfiguredModels.from_names(["pets"])
    )
    assert app.test_client().get("/livez").status_code == 200
    server.close()  # type: ignore[attr-defined]  # the real one has it


def test_the_gateway_imports_no_tensorflow():
    """Its import takes seconds and hundreds of megabytes in every worker."""
    program = "import sys, gateway.app; print(*sorted({'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules)))"
    process = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert process.stdout.strip() == ""
