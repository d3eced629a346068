"""Pictures asked about offline: a run and its export answer alike, and what cannot be read stops nothing else."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from train.cli.main import app
from train.cli.predict import Offline, open_model
from train.errors import TrainError
from train.export.golden import FOLDER, read_golden
from vision.card import Card, InputSpec


@pytest.fixture(scope="module")
def evaluated(run: Path) -> Path:
    """The run, evaluated, so that its temperature is known."""
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


def test_a_run_its_export_and_the_golden_images_say_the_same(evaluated: Path, models: Path, photos: list[Path]):
    of_run, of_version = (lines(predict(model, *photos, "--json")) for model in (evaluated, models / "shapes/1"))
    for golden, *answers in zip(read_golden(models / "shapes/1"), of_run, of_version, strict=True):
        for answer in answers:
            scores = {each["class_id"]: each["score"] for each in answer["predictions"]}
            assert [scores[0], scores[1]] == pytest.approx(golden.probabilities.tolist(), abs=1e-4)
            assert answer["class_id"] == golden.probabilities.argmax()
            assert answer["score"] == max(scores.values())


def test_of_a_models_folder_the_newest_version_answers(models: Path, photos: list[Path]):
    assert lines(predict(models / "shapes", photos[0], "--json")) == lines(
        predict(models / "shapes/1", photos[0], "--json")
    )


def test_a_line_for_people(models: Path, photos: list[Path]):
    result = predict(models / "shapes", photos[0], "--top-k", 1)
    label = lines(predict(models / "shapes", photos[0], "--json"))[0]["class"]
    assert result.output.startswith(f"{photos[0]}: {label} ")
    assert "%" in result.output
    assert "," not in result.output


def test_what_is_no_picture_is_told_and_the_others_answered(models: Path, photos: list[Path], tmp_path: Path):
    (tmp_path / "text.png").write_text("no picture")
    result = predict(models / "shapes", tmp_path / "text.png", tmp_path / "none.png", photos[0], "--json")
    assert result.exit_code == 1
    text, none, answered = lines(result)
    assert "none of the accepted formats" in text["error"]
    assert "No such file" in none["error"]
    assert answered["file"] == str(photos[0])


def test_what_is_no_model_is_told(tmp_path: Path):
    with pytest.raises(TrainError, match="no version"):
        open_model(tmp_path)
    with pytest.raises(TrainError, match="expected a finished run"):
        open_model(tmp_path / "none")


def offline(scores: list[float], **card: Any) -> Offline:
    spec = InputSpec(height=28, width=28, color="GRAY")
    made = Card(name="x", labels=("a", "b", "c"), input=spec, **card)
    return Offline(made, lambda images: np.tile(np.array(scores, np.float32), (len(images), 1)))


def test_an_answer_below_the_threshold_is_unsure(photos: list[Path]):
    data = photos[0].read_bytes()
    assert offline([0.6, 0.3, 0.1], metrics={"abstain_below": 0.7}).classify(data, 3).unsure
    assert not offline([0.6, 0.3, 0.1], metrics={"abstain_below": 0.5}).classify(data, 3).unsure
    assert not offline([0.6, 0.3, 0.1], metrics={"abstain_below": None}).classify(data, 3).unsure


def test_of_several_classes_those_at_their_thresholds_are_there(photos: list[Path]):
    several = offline([0.6, 0.3, 0.1], task="multilabel", threshold=(0.7, 0.3, 0.1))
    answer = several.classify(photos[0].read_bytes(), 2)
    assert [each.label for each in answer.ranked] == ["a", "b"]
    assert [each.label for each in answer.present or ()] == ["b", "c"]
