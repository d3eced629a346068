"""Offline predictions: a run and its export agree, and an unreadable image does not stop the others."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from train.cli.main import app
from train.cli.predict import OfflineModel, open_model
from train.errors import TrainError
from train.export.golden import FOLDER, read_golden
from vision.card import Card, InputSpec


@pytest.fixture(scope="module")
def evaluated(run: Path) -> Path:
    """The run, evaluated, so that its temperature is calibrated."""
    result = CliRunner().invoke(app, ["evaluate", str(run)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return run


@pytest.fixture
def photos(models: Path) -> list[Path]:
    return sorted((models / "shapes/1" / FOLDER).glob("*.png"))


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)], catch_exceptions=False)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.output.splitlines()]


def test_a_run_its_export_and_the_golden_images_agree(evaluated: Path, models: Path, photos: list[Path]):
    run_lines, version_lines = (lines(predict(model, *photos, "--json")) for model in (evaluated, models / "shapes/1"))
    golden_images = read_golden(models / "shapes/1")

    assert golden_images
    for golden, *predictions in zip(golden_images, run_lines, version_lines, strict=True):
        for prediction in predictions:
            scores = {each["class_id"]: each["score"] for each in prediction["predictions"]}
            assert [scores[0], scores[1]] == pytest.approx(golden.probabilities.tolist(), abs=1e-4)
            assert prediction["class_id"] == golden.probabilities.argmax()
            assert prediction["score"] == max(scores.values())


def test_the_newest_version_of_a_models_folder_predicts(models: Path, photos: list[Path]):
    assert lines(predict(models / "shapes", photos[0], "--json")) == lines(
        predict(models / "shapes/1", photos[0], "--json")
    )


def test_a_line_of_text_names_the_class_and_its_probability(models: Path, photos: list[Path]):
    result = predict(models / "shapes", photos[0], "--top-k", 1)
    label = lines(predict(models / "shapes", photos[0], "--json"))[0]["class"]

    assert result.output.startswith(f"{photos[0]}: {label} ")
    assert "%" in result.output
    assert "," not in result.output


def test_an_unreadable_image_does_not_stop_the_others(models: Path, photos: list[Path], tmp_path: Path):
    (tmp_path / "text.png").write_text("not an image")
    result = predict(models / "shapes", tmp_path / "text.png", tmp_path / "none.png", photos[0], "--json")

    assert result.exit_code == 1

    text, missing, classified = lines(result)

    assert "none of the accepted formats" in text["error"]
    assert "No such file" in missing["error"]
    assert classified["file"] == str(photos[0])


def test_a_folder_without_a_model_is_refused(tmp_path: Path):
    with pytest.raises(TrainError, match="no version"):
        open_model(tmp_path)

    with pytest.raises(TrainError, match="expected a finished run"):
        open_model(tmp_path / "none")


def constant_model(scores: list[float], **card: Any) -> OfflineModel:
    spec = InputSpec(height=28, width=28, color="GRAY")
    model_card = Card(name="x", labels=("a", "b", "c"), input=spec, **card)
    return OfflineModel(model_card, lambda images: np.tile(np.array(scores, np.float32), (len(images), 1)))


def test_a_prediction_below_the_threshold_is_unsure(photos: list[Path]):
    data = photos[0].read_bytes()

    assert constant_model([0.6, 0.3, 0.1], abstain_below=0.7).classify(data, 3).confident is False
    assert constant_model([0.6, 0.3, 0.1], abstain_below=0.5).classify(data, 3).confident is True
    assert constant_model([0.6, 0.3, 0.1]).classify(data, 3).confident is None


def test_multilabel_classes_at_their_thresholds_are_present(photos: list[Path]):
    multilabel = constant_model([0.6, 0.3, 0.1], task="multilabel", threshold=(0.7, 0.3, 0.1))
    prediction = multilabel.classify(photos[0].read_bytes(), 2)

    assert [each.label for each in prediction.ranked] == ["a", "b"]
    assert [each.label for each in prediction.present or ()] == ["b", "c"]
