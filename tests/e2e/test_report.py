"""The report of an evaluation in a real browser: it loads nothing, follows its own policy, and fits the window."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.support.assessments import multiclass_assessment, multilabel_assessment
from train.data.examples import Example
from train.evaluation.assessment import Assessment
from train.report.write import PAGE, write_report

LOG = "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,2.0,0.4,2.1\n1,0.8,1.0,0.9,1.2\n"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("assessment", [multiclass_assessment(), multilabel_assessment()], ids=["one", "several"])
def test_the_report_opens_without_requests_and_fits_the_window(
    browser: Any, tmp_path: Path, assessment: Assessment, scheme: str
):
    data = cv2.imencode(".png", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
    (tmp_path / "log.csv").write_text(LOG)
    write_report(tmp_path, assessment, [Example(data, (0,), "x.png")] * 60, tmp_path / "log.csv")
    url = (tmp_path / PAGE).as_uri()
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    requested_urls, console_messages = [], []
    page.on("request", lambda request: requested_urls.append(request.url))
    page.on("console", lambda message: console_messages.append(message.text))

    page.goto(url)

    assert page.title() == "Pets & <others>: evaluation"
    assert page.locator("svg").count() >= 4
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tile = page.locator(".tile").first
    assert tile.evaluate("element => getComputedStyle(element).backgroundImage").startswith('url("data:image/png')
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(251, 251, 250)"
    assert light == (scheme == "light")
    assert [requested for requested in requested_urls if not requested.startswith("data:")] == [url]
    assert console_messages == []
    context.close()
