"""The report holds what was measured, whole and by itself; tests/e2e opens it in a browser."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.assessments import WRONG_EVERY, of_one_class, of_several_classes
from train.data.examples import Example
from train.evaluation.assessment import Assessment
from train.evaluation.evaluate import Evaluation
from train.report.write import PAGE, SHEET, write_report

LOG = "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,2.0,0.4,2.1\n1,0.8,1.0,0.9,1.2\n"


def pictures(assessment: Assessment) -> list[Example]:
    data = cv2.imencode(".png", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
    return [Example(data, (0,), f"photo {number} <i>.png") for number in range(len(assessment.test.targets))]


def written(folder: Path, assessment: Assessment, log: Path | None = None) -> str:
    write_report(folder, assessment, pictures(assessment), log or folder / "no log")
    return (folder / PAGE).read_text(encoding="utf-8")


def headings(page: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", page)


@pytest.mark.parametrize("assessment", [of_one_class(), of_several_classes()], ids=["one", "several"])
def test_nothing_is_loaded_from_elsewhere_and_no_label_becomes_markup(tmp_path: Path, assessment: Assessment):
    page = written(tmp_path, assessment)
    assert not re.findall(r"""(?:src|href)=|url\((?!"data:)|<script|http:""", page)
    assert "default-src 'none'" in page
    assert "Pets &amp; &lt;others&gt;" in page
    for markup in ("<b>bird", "dog & co", "<i>.png", "<others>"):
        assert markup not in page


def test_where_one_class_is_right_confusions_are_shown(tmp_path: Path):
    page = written(tmp_path, of_one_class())
    assert headings(page) == [
        "Sets of test images",
        "Classes",
        "Confusions",
        "What probabilities are worth",
        "Worst mistakes",
    ]
    assert "<b>80.00 %</b>right<small>of 60 images" in page
    assert page.count('class="cell ') == 9
    assert page.count('class="tile"') == 60 // WRONG_EVERY


def test_where_several_may_be_each_class_has_a_curve(tmp_path: Path):
    page = written(tmp_path, of_several_classes())
    assert headings(page) == [
        "Classes",
        "Precision and recall at every threshold",
        "What probabilities are worth",
        "Worst mistakes",
    ]
    assert page.count("dot: its threshold") == 3
    assert '<th scope="col">threshold</th>' in page


def test_the_runs_log_is_drawn(tmp_path: Path):
    (tmp_path / "log.csv").write_text(LOG)
    page = written(tmp_path, of_one_class(), tmp_path / "log.csv")
    assert "Training" in headings(page)
    assert "validation: 2, 90 %" in page


def test_the_contact_sheet_lies_beside_and_an_older_one_does_not_stay(tmp_path: Path):
    assessment = of_one_class()
    written(tmp_path, assessment)
    assert cv2.imread(str(tmp_path / SHEET)) is not None
    right = assessment.test.targets
    perfect = Assessment(
        assessment.config, assessment.calibration, {"test": Evaluation(right.astype(np.float32), right)}
    )
    page = written(tmp_path, perfect)
    assert not (tmp_path / SHEET).exists()
    assert "No answer was wrong." in page
    assert "Worst mistakes" not in headings(page)
