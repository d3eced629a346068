"""The page /docs in a real browser: it lists every operation, and its forms send requests to the service."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.accessibility import LOW_CONTRAST, UNNAMED
from tests.support.axe import violations
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


def test_a_file_can_be_chosen_and_sent_without_another_click(docs: Page):
    form = docs.locator("#operations-Predict-predict")
    chooser = form.get_by_label("image")
    expect(chooser).to_be_in_viewport()

    chooser.set_input_files(ROOT / "examples" / "lighthouse.jpg")

    expect_response(form, "lighthouse")


def test_an_example_can_be_sent(docs: Page):
    form = docs.locator("#operations-Predict-predict_json")
    form.locator(".opblock-summary-control").click()

    example = DOCUMENT["components"]["examples"]["photo-request"]["value"]
    assert json.loads(form.locator("textarea").first.input_value()) == example
    expect_response(form, "macaw")


def test_problems_and_the_page_to_try_the_service_are_linked(docs: Page, stack):
    form = docs.locator("#operations-Predict-predict")
    expect(form.get_by_role("link", name="/problems/body-too-large").first).to_have_attribute(
        "href", "/problems/body-too-large"
    )

    docs.get_by_role("link", name="Try it").click()

    assert docs.url == f"{stack.url}/"


def test_a_link_to_an_operation_opens_it(docs: Page, stack):
    docs.goto("about:blank")
    docs.goto(f"{stack.url}/docs#/Models/models")

    expect(docs.locator("#operations-Models-models").get_by_role("button", name="Execute")).to_be_visible()
    expect(docs.locator("#operations-Predict-predict input[type=file]")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_control_has_a_name_and_every_text_enough_contrast(docs: Page, scheme):
    docs.emulate_media(color_scheme=scheme)
    expect(docs.locator("html.dark-mode")).to_have_count(int(scheme == "dark"))
    for operation in ("Predict-predict_json", "Models-models", "Jobs-cancel_job"):
        docs.locator(f"#operations-{operation} .opblock-summary-control").click()
    expect(docs.get_by_role("button", name="Execute")).to_have_count(4)

    assert [found for found in violations(docs) if not found.split()[1].startswith("(moderate")] == []
    assert docs.evaluate(LOW_CONTRAST) == []
    assert UNNAMED.findall(docs.locator("body").aria_snapshot()) == []


def expect_response(form: Locator, label: str) -> None:
    """Send the form, and wait for a response whose best class is this one."""
    form.get_by_role("button", name="Execute").click()
    row = form.locator(".live-responses-table .response")
    expect(row.locator("pre").first).to_contain_text(f'{{\n  "kind": "prediction",\n  "class": "{label}"')
    expect(row.locator(".response-col_status")).to_contain_text("200")
