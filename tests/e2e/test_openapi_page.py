"""The page /docs in a real browser: it shows every operation, and "Try it out" asks the service."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.openapi import written_document

DOCUMENT = written_document()


@pytest.fixture
def docs(page: Page, stack) -> Iterator[Page]:
    """The page, shown whole; it must have reported no error in the end, nor what the fixture `page` watches for."""
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{stack.url}/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    yield page
    assert errors == []


@pytest.fixture
def predict(docs: Page) -> Locator:
    """The form to ask the default model."""
    form = docs.locator("#operations-Predict-predict")
    form.click()
    form.get_by_role("button", name="Try it out").click()
    return form


def answer_to(form: Locator) -> dict[str, object]:
    """Send the form, and read the answer off the page."""
    form.get_by_role("button", name="Execute").click()
    row = form.locator(".live-responses-table .response")
    expect(row.locator(".response-col_status")).to_have_text("200")
    return json.loads(row.locator("pre").first.inner_text())


def test_every_operation_is_listed(docs: Page):
    listed = docs.locator(".opblock").evaluate_all("blocks => blocks.map((block) => block.id)")
    assert sorted(listed) == sorted(
        f"operations-{operation['tags'][0]}-{operation['operationId']}"
        for item in DOCUMENT["paths"].values()
        for operation in item.values()
    )
    expect(docs.get_by_role("heading", name=DOCUMENT["info"]["title"])).to_be_visible()


def test_a_file_is_sent(predict: Locator, golden):
    data, label, _ = golden[3]
    predict.get_by_label("Request content type").select_option("multipart/form-data")
    predict.locator("input[type=file]").first.set_input_files(
        {"name": "three.png", "mimeType": "image/png", "buffer": data}
    )
    assert answer_to(predict)["class"] == label


def test_raw_bytes_are_sent(predict: Locator, golden):
    data, label, _ = golden[4]
    predict.get_by_label("Request content type").select_option("image/*")
    predict.locator("input[type=file]").set_input_files({"name": "four.png", "mimeType": "image/png", "buffer": data})
    assert answer_to(predict)["class"] == label


def test_an_example_is_sent_as_it_stands(predict: Locator):
    shown = DOCUMENT["components"]["examples"]
    assert json.loads(predict.locator("textarea").first.input_value()) == shown["digit-request"]["value"]
    answer = answer_to(predict)
    assert (answer["class"], len(answer["predictions"])) == ("7", 3)


def test_a_model_is_described(docs: Page):
    form = docs.locator("#operations-Models-model_details")
    form.click()
    form.get_by_role("button", name="Try it out").click()
    form.get_by_placeholder("model").fill("digits")
    assert answer_to(form)["card"]["labels"] == [str(digit) for digit in range(10)]


@pytest.mark.parametrize("page", [{"viewport": {"width": 360, "height": 740}}], indirect=True)
def test_a_phone_needs_no_sideways_scrolling(docs: Page):
    assert docs.evaluate("document.documentElement.scrollWidth") <= 360
