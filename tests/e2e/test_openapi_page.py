"""The page /docs in a real browser: it lists every operation, and "Try it out" sends requests to the service."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.openapi import default_document
from tests.support.stack import ROOT

DOCUMENT = default_document()
PHONE_WIDTH = 360

pytestmark = pytest.mark.timeout(600)  # Swagger UI is large and takes long to load on a busy machine


@pytest.fixture
def docs(page: Page, stack) -> Iterator[Page]:
    """The page once it has loaded; fails if the browser reports an error before the end of the test."""
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"{stack.url}/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    yield page
    assert errors == []


def test_every_operation_is_listed_also_on_a_phone(docs: Page):
    listed = docs.locator(".opblock").evaluate_all("blocks => blocks.map((block) => block.id)")
    assert sorted(listed) == sorted(
        f"operations-{operation['tags'][0]}-{operation['operationId']}"
        for item in DOCUMENT["paths"].values()
        for operation in item.values()
    )
    expect(docs.get_by_role("heading", name=DOCUMENT["info"]["title"])).to_be_visible()
    docs.set_viewport_size({"width": PHONE_WIDTH, "height": 740})

    assert docs.evaluate("document.documentElement.scrollWidth") <= PHONE_WIDTH


def test_a_file_can_be_sent_at_once(docs: Page):
    form = docs.locator("#operations-Predict-predict")
    form.click()
    form.get_by_role("button", name="Try it out").click()

    form.locator("input[type=file]").set_input_files(ROOT / "examples" / "lighthouse.jpg")

    expect_response(form, "lighthouse")


def test_an_example_can_be_sent(docs: Page):
    form = docs.locator("#operations-Predict-predict_json")
    form.click()
    form.get_by_role("button", name="Try it out").click()

    example = DOCUMENT["components"]["examples"]["photo-request"]["value"]
    assert json.loads(form.locator("textarea").first.input_value()) == example
    expect_response(form, "macaw")


def expect_response(form: Locator, label: str) -> None:
    """Send the form, and wait for a response whose best class is this one."""
    form.get_by_role("button", name="Execute").click()
    row = form.locator(".live-responses-table .response")
    expect(row.locator("pre").first).to_contain_text(f'{{\n  "kind": "prediction",\n  "class": "{label}"')
    expect(row.locator(".response-col_status")).to_contain_text("200")
