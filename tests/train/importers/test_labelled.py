"""Labelled images calibrate an imported network."""

import json
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from train.cli.main import app
from train.data.examples import DataError
from train.importers.foreign import classify, from_keras
from train.importers.labelled import calibrate_on, read_labelled
from vision.card import Card

LABELS = ["dark", "light"]
SIDE = 4


def make_card(**changes: Any) -> Card:
    spec = {"height": SIDE, "width": SIDE, "color": "GRAY", "dtype": "float32"}
    return Card.from_json(json.dumps({"name": "shades", "labels": LABELS, "input": spec} | changes))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each class, of gray squares; one of ten is in the wrong folder."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for index in range(120):
        shade = int(random.integers(0, 256))
        is_light = (shade >= 128) ^ (index % 10 == 0)
        (folder / LABELS[is_light]).mkdir(exist_ok=True)
        cv2.imwrite(str(folder / LABELS[is_light] / f"{index}.png"), np.full((SIDE, SIDE), shade, np.uint8))
    return folder


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A network that is right about nine of ten squares, and far too sure."""
    image = keras.Input((SIDE, SIDE, 1))
    dense = keras.layers.Dense(2)
    scores = keras.Model(image, dense(keras.layers.GlobalAveragePooling2D()(image)))
    dense.set_weights([np.array([[-0.1, 0.1]]), np.array([12.75, -12.75])])
    return scores


def test_a_damaged_image_is_named(model: keras.Model, tmp_path: Path):
    card = make_card()
    for label in LABELS:
        (tmp_path / label).mkdir()
        (tmp_path / label / f"{label}.png").write_bytes(b"\x89PNG\r\n\x1a\n")

    with pytest.raises(DataError, match=r"dark/dark\.png: "):
        calibrate_on(tmp_path, classify(from_keras(model, card), card))


def test_a_network_that_is_too_sure_is_calibrated(photos: Path, model: keras.Model):
    card = make_card()

    calibrated = calibrate_on(photos, classify(from_keras(model, card), card))

    metrics = calibrated.metrics
    assert metrics["images"] == 120
    assert metrics["accuracy"] == pytest.approx(0.9)
    assert metrics["temperature"] > 2
    assert metrics["calibration_error"] < metrics["calibration_error_before"]


def test_what_is_answered_is_measured_at_the_threshold_that_the_card_states(photos: Path, model: keras.Model):
    card = make_card(abstain_below=0.0)

    calibrated = calibrate_on(photos, classify(from_keras(model, card), card))

    assert calibrated.complete(card).abstain_below == 0
    assert calibrated.metrics["answered"] == {"share": 1, "accuracy": pytest.approx(0.9)}


def test_the_command_measures_and_writes_what_it_found(photos: Path, model: keras.Model, tmp_path: Path):
    model.save(tmp_path / "model.keras")
    (tmp_path / "card.json").write_text(make_card().to_json())
    options = ["--card", tmp_path / "card.json", "--pictures", photos, "--models", tmp_path, "--tflite", "none"]

    result = CliRunner().invoke(
        app, [*map(str, ["import-keras", tmp_path / "model.keras", *options, "--labelled", photos])]
    )

    assert result.exit_code == 0, result.exception
    output = " ".join(result.output.split())
    assert "90.00% of 120 labelled images right; temperature" in output
    assert "warning" not in output
    metrics = json.loads((tmp_path / "shades/1/assets.extra/card.json").read_text())["metrics"]
    assert metrics["calibration_error"] < metrics["calibration_error_before"]
    assert metrics["forms"]["saved_model"]["accuracy"] == pytest.approx(0.9)


def test_large_photos_are_measured_decoded_in_both_ways(model: keras.Model, tmp_path: Path):
    model.save(tmp_path / "model.keras")
    (tmp_path / "card.json").write_text(make_card().to_json())
    for label, shade in zip(LABELS, (40, 210), strict=True):
        (tmp_path / "photos" / label).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "photos" / label / "1.jpg"), np.full((60, 80), shade, np.uint8))
    photos = tmp_path / "photos"
    options = ["--card", tmp_path / "card.json", "--pictures", photos, "--models", tmp_path, "--tflite", "none"]

    result = CliRunner().invoke(
        app, [*map(str, ["import-keras", tmp_path / "model.keras", *options, "--labelled", photos])]
    )

    assert result.exit_code == 0, result.exception
    output = " ".join(result.output.split())
    assert "2 large photos: 100.0% the same class decoded at reduced size as in full" in output
    assert "only 2 labelled images: the temperature and the thresholds are uncertain" in output
    metrics = json.loads((tmp_path / "shades/1/assets.extra/card.json").read_text())["metrics"]
    assert metrics["decoding"]["accuracy_scaled"] == metrics["decoding"]["accuracy_full"] == 1


@pytest.mark.parametrize(
    ("table", "task", "expected"),
    [
        ("file,label\na.png,light\n", "multiclass", [(1,)]),
        ("file,index,label\na.png,0,light\n", "multiclass", [(0,)]),
        ("file,label\na.png,dark;light\nb.png,\n", "multilabel", [(0, 1), ()]),
        ("file,dark,light\na.png,1,0\nb.png,True,1.0\n", "multilabel", [(0,), (0, 1)]),
    ],
)
def test_a_table_names_the_classes(tmp_path: Path, table: str, task: str, expected: list[tuple[int, ...]]):
    (tmp_path / "inner").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "inner" / name).touch()
    (tmp_path / "labels.csv").write_text(table)

    examples = read_labelled(tmp_path / "labels.csv", make_card(task=task))

    assert [example.classes for example in examples] == expected
    assert [example.name for example in examples] == ["a.png", "b.png"][: len(expected)]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,label\nnone.png,dark\n", "line 2: none.png is not a file"),
        ("file,label\na.png,lihgt\n", "'lihgt' is not one of the card's labels; the nearest is 'light'"),
        ("file,index\na.png,2\n", "expected an index of 0 to 1, received '2'"),
        ("file,index\na.png,x\n", "expected an index of 0 to 1, received 'x'"),
        ("file,dark,light\na.png,yes,no\n", "dark: expected 0 or 1, found 'yes'"),
        ("file,label\nb.png,dark\n", "b.png is the name of 2 files, such as inner/b.png, other/b.png; give the path"),
        ("file,colour\na.png,dark\n", "expected a column label, index or one for each label"),
        ("picture\na.png\n", "has no column 'file'"),
        ("file,label\n", "expected labelled images, found none"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, table: str, message: str):
    for name in ("a.png", "inner/b.png", "other/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "labels.csv").write_text(table)

    with pytest.raises(DataError, match=message):
        read_labelled(tmp_path / "labels.csv", make_card())


def test_files_that_are_not_images_are_ignored(tmp_path: Path):
    for name in ("a.png", "Thumbs.db", ".hidden.png"):
        (tmp_path / "dark").mkdir(exist_ok=True)
        (tmp_path / "dark" / name).touch()

    assert [example.name for example in read_labelled(tmp_path, make_card())] == ["dark/a.png"]


def test_a_folder_of_another_class_is_refused(tmp_path: Path):
    (tmp_path / "lights").mkdir()
    (tmp_path / "lights/a.png").touch()

    with pytest.raises(DataError, match="'lights' is not one of the card's labels; the nearest is 'light'"):
        read_labelled(tmp_path, make_card())
