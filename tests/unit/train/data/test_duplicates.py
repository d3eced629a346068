"""`python -m train duplicates` lists images that look alike."""

from pathlib import Path

import cv2
import pytest
import yaml
from typer.testing import CliRunner

from tests.support.photo_sets import write_folders
from train.cli.main import app
from train.data.propose import propose_for_folders, write_config
from train.errors import TrainError


def list_duplicates(config: Path) -> list[str]:
    result = CliRunner().invoke(app, ["duplicates", str(config)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [line for line in result.output.splitlines() if "reading" not in line and line.strip()]


def test_groups_are_listed_with_their_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    write_folders(Path("photos"), {"cat": 3, "dog": 3})
    for source, copy in (("cat/0.png", "cat/large.png"), ("cat/1.png", "dog/large.png")):
        cv2.imwrite(f"photos/{copy}", cv2.resize(cv2.imread(f"photos/{source}"), (64, 48)))
    write_config(propose_for_folders(Path("photos")), Path("pets.yaml"))

    expected = [
        "cat/0.png (cat), cat/large.png (cat)",
        "cat/1.png (cat), dog/large.png (dog); classes differ",
        "4 of 8 images are near-duplicates, in 2 groups",
    ]

    assert list_duplicates(Path("pets.yaml")) == expected

    document = yaml.safe_load(Path("pets.yaml").read_text())
    document["data"]["near_duplicates"] = "ignore"
    Path("ignoring.yaml").write_text(yaml.safe_dump(document))

    assert list_duplicates(Path("ignoring.yaml")) == expected


def test_a_published_data_set_is_refused():
    with pytest.raises(TrainError, match=r"data\.kind: mnist is a published data set"):
        CliRunner().invoke(app, ["duplicates", "train/configs/digits.yaml"], catch_exceptions=False)
