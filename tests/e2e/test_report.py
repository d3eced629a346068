"""The report of an evaluation in a real browser: it asks nobody, breaks no rule of its own, and fits the window."""

import cv2
import numpy as np
import pytest

from tests.support.assessments import of_one_class, of_several_classes
from train.data.examples import Example
from train.report.write import PAGE, write_report

LOG = "epoch,accuracy,loss,val_accuracy,val_loss\n0,0.5,2.0,0.4,2.1\n1,0.8,1.0,0.9,1.2\n"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("assessment", [of_one_class(), of_several_classes()], ids=["one", "several"])
def test_report_opens_alone_and_fits(browser, tmp_path, assessment, scheme):
    data = cv2.imencode(".png", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
    (tmp_path / "log.csv").write_text(LOG)
    write_report(tmp_path, assessment, [Example(data, (0,), "x.png")] * 60, tmp_path / "log.csv")
    url = (tmp_path / PAGE).as_uri()
    context = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(url)
    assert page.title() == "Pets & <others>: evaluation"
    assert page.locator("svg").count() >= 4
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tile = page.locator(".tile").first
    assert tile.evaluate("each => getComputedStyle(each).backgroundImage").startswith('url("data:image/png')
    light = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(251, 251, 250)"
    assert light == (scheme == "light")
    assert [each for each in asked if not each.startswith("data:")] == [url]
    assert said == []
    context.close()
