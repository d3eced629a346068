"""The page /models in a real browser: health, versions and cards of the models, refreshed by itself."""

import json

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.support.axe import violations
from tests.support.stack import RunningStack

PHONE = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}
REFRESH_MS = 10_000


@pytest.fixture
def models(page: Page, stack: RunningStack) -> Page:
    page.clock.install()
    page.goto(f"{stack.url}/models")
    expect(page.get_by_role("heading", name="Handwritten digits")).to_be_visible()
    return page


def section(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name)


def test_every_model_is_described_in_words(models: Page):
    digits = section(models, "Handwritten digits")

    for text in ("available", "One class per picture", "test images are classified correctly", "MNIST", "Apache-2.0"):
        expect(digits).to_contain_text(text)
    expect(section(models, "A thousand things in photos")).to_contain_text("default")
    expect(digits.get_by_role("link", name="Apache-2.0")).to_have_attribute(
        "href", "https://spdx.org/licenses/Apache-2.0.html"
    )


def test_many_classes_are_searched(models: Page):
    photos = section(models, "A thousand things in photos")
    photos.get_by_text("1,000").click()
    expect(photos.locator(".labels li")).to_have_count(1000)

    photos.get_by_label("Search the classes").fill("MACAW")

    expect(photos.locator(".labels li:visible")).to_have_text(["macaw"])
    expect(section(models, "Handwritten digits").get_by_label("Search the classes")).to_have_count(0)


def test_a_model_leads_to_where_it_is_tried_compared_and_read(models: Page, stack: RunningStack):
    assert models.request.get(f"{stack.url}/api/v1/models/digits").ok
    expect(models.get_by_role("link", name="JSON: digits")).to_have_attribute("href", "api/v1/models/digits")
    expect(models.get_by_role("link", name="Compare: digits")).to_have_attribute("href", "compare?a=digits")

    models.get_by_role("link", name="Try it: digits").click()

    expect(models.get_by_label("Model", exact=True)).to_have_value("digits")


def test_a_change_appears_by_itself_and_what_is_open_stays_open(models: Page):
    other = section(models, "CIFAR-10 objects")
    other.get_by_text("10", exact=True).click()

    failure = {"available": False, "reason": "The model server is being restarted."}

    def fail(route: Route) -> None:
        failed = {**route.fetch().json(), **failure}
        route.fulfill(body=json.dumps(failed), content_type="application/json")

    def list_failure(route: Route) -> None:
        items = [{**item, **failure} if item["name"] == "digits" else item for item in route.fetch().json()["models"]]
        route.fulfill(body=json.dumps({"models": items}), content_type="application/json")

    models.route("**/api/v1/models", list_failure)
    models.route("**/api/v1/models/digits", fail)
    models.clock.run_for(REFRESH_MS)

    digits = section(models, "Handwritten digits")
    expect(digits).to_contain_text("not available")
    expect(digits).to_contain_text("The model server is being restarted.")
    expect(digits.get_by_role("link", name="Try it: digits")).to_have_count(0)
    expect(other.locator(".labels")).to_be_visible()


def test_details_that_the_list_does_not_contradict_are_not_requested_again(models: Page):
    paths: list[str] = []
    models.on("request", lambda request: paths.append(request.url.partition("/api/v1/")[2]))

    with models.expect_response("**/api/v1/models"):
        models.clock.run_for(REFRESH_MS)
    with models.expect_response("**/api/v1/models"):
        models.clock.run_for(REFRESH_MS)

    assert paths == ["models", "models"]


def test_an_outage_is_shown_until_it_ends(models: Page):
    models.route("**/api/v1/models", lambda route: route.abort())
    models.clock.run_for(REFRESH_MS)
    expect(models.get_by_role("status")).to_contain_text("The service cannot be reached")

    models.unroute("**/api/v1/models")
    models.clock.run_for(REFRESH_MS)

    expect(models.get_by_role("status")).to_be_hidden()


@pytest.mark.parametrize("page", [{}, PHONE], ids=["wide", "dark-phone"], indirect=True)
def test_axe_finds_nothing_and_nothing_needs_to_scroll_sideways(models: Page):
    section(models, "A thousand things in photos").get_by_text("1,000").click()

    assert models.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(models) == []
