"""The report contains the results of an evaluation and loads nothing; tests/e2e opens it in a browser."""

import dataclasses
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.assessments import WRONG_EVERY, multiclass_assessment, multilabel_assessment
from train.data.examples import Example
from train.evaluation.assessment import Assessment, summarise
from train.evaluation.evaluate import Evaluation
from train.report import sections
from train.report.sections import ExportedForms
from train.report.write import PAGE, SHEET, write_report

LOG = "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,2.0,0.4,2.1\n1,0.8,1.0,0.9,1.2\n"


def make_examples(assessment: Assessment) -> list[Example]:
    data = cv2.imencode(".png", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
    return [Example(data, (0,), f"photo {number} <i>.png") for number in range(len(assessment.test.targets))]


def write_page(folder: Path, assessment: Assessment, log: Path | None = None) -> str:
    """Write the report of an assessment and return its page."""
    write_report(folder, assessment, make_examples(assessment), log or folder / "no log")
    return (folder / PAGE).read_text(encoding="utf-8")


def headings(page: str) -> list[str]:
    return re.findall("<h2>(.*?)</h2>", page)


@pytest.mark.parametrize("assessment", [multiclass_assessment(), multilabel_assessment()], ids=["one", "several"])
def test_the_page_loads_nothing_and_escapes_every_text(tmp_path: Path, assessment: Assessment):
    page = write_page(tmp_path, assessment)

    assert not re.findall(r"""(?:src|href)=|url\((?!"data:)|<script|http:""", page)
    assert "default-src 'none'" in page
    for text in ("Pets &amp; &lt;others&gt;", "&lt;b&gt;bird", "dog &amp; co", "&lt;i&gt;.png"):
        assert text in page
    for markup in ("<b>bird", "dog & co", "<i>.png", "<others>"):
        assert markup not in page


def test_the_report_of_a_multiclass_model_has_confusions(tmp_path: Path):
    page = write_page(tmp_path, multiclass_assessment())

    assert headings(page) == ["Test sets", "Classes", "Confusions", "Calibration", "Worst mistakes"]
    assert "<b>80.00 %</b>correct<small>of 60 images" in page
    assert page.count('class="cell ') == 9
    assert page.count('class="tile"') == 60 // WRONG_EVERY


def test_the_report_of_a_multilabel_model_has_a_curve_for_each_class(tmp_path: Path):
    page = write_page(tmp_path, multilabel_assessment())

    assert headings(page) == ["Classes", "Precision and recall at every threshold", "Calibration", "Worst mistakes"]
    assert page.count("Dot: its threshold") == 3
    assert '<th scope="col">threshold</th>' in page


def test_the_report_shows_the_calibration_before_and_after(tmp_path: Path):
    page = write_page(tmp_path, multiclass_assessment())

    row = re.search(r"<tr><td>validation, cross-validated</td>(.*?)</tr>", page).group(1)
    assert re.findall("<td>(.*?)</td>", row) == ["300", "0.100", "0.200", "0.700", "0.900"]


def test_the_report_of_a_version_says_which_network_was_measured_on_which_images():
    exported = ExportedForms(Path("pets/1"), {"form": "tflite", "forms": {}}, {})

    page = sections.calibration(multiclass_assessment(), summarise(multiclass_assessment()), exported)

    assert "<td>validation, cross-validated by the trained network</td>" in page
    assert "<td>test by TensorFlow Lite</td>" in page


def test_a_network_that_is_not_changed_by_calibration_has_one_line_of_reliability(tmp_path: Path):
    assessment = multiclass_assessment()
    unchanged = dataclasses.replace(
        assessment, calibration=dataclasses.replace(assessment.calibration, temperature=1.0)
    )

    page = write_page(tmp_path, unchanged)

    assert "no temperature gains in cross-validation" in page
    assert "at temperature" not in page


def test_the_report_warns_of_few_validation_images(tmp_path: Path):
    assessment = multiclass_assessment()
    fit = dataclasses.replace(assessment.calibration.fit, images=38)
    calibration = dataclasses.replace(assessment.calibration, fit=fit)

    page = write_page(tmp_path, dataclasses.replace(assessment, calibration=calibration))

    assert headings(page)[0] == "Warnings"
    assert "only 38 validation images" in page


def test_the_log_of_the_run_is_plotted(tmp_path: Path):
    (tmp_path / "log.csv").write_text(LOG)

    page = write_page(tmp_path, multiclass_assessment(), tmp_path / "log.csv")

    assert "Training" in headings(page)
    assert "validation: 2, 90 %" in page


def test_the_contact_sheet_is_also_a_file(tmp_path: Path):
    write_page(tmp_path, multiclass_assessment())

    assert cv2.imread(str(tmp_path / SHEET)) is not None


def test_a_report_without_mistakes_removes_an_earlier_contact_sheet(tmp_path: Path):
    assessment = multiclass_assessment()
    write_page(tmp_path, assessment)
    targets = assessment.test.targets
    perfect = Evaluation(targets.astype(np.float32), targets)

    page = write_page(tmp_path, Assessment(assessment.config, assessment.calibration, {"test": perfect}))

    assert not (tmp_path / SHEET).exists()
    assert "No image was misclassified." in page
    assert "Worst mistakes" not in headings(page)
