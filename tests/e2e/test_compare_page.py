"""The page /compare in a real browser: the same pictures by two models or versions."""

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.support.axe import violations
from tests.support.stack import RunningStack

pytestmark = pytest.mark.timeout(600)  # the first test writes the models, with TensorFlow, and starts the stack
PHONE = {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark"}
PAUSE_MS = 5_000
BAD = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}


@pytest.fixture(scope="session")
def stack(colour_stack: RunningStack) -> RunningStack:
    return colour_stack


@pytest.fixture
def comparison(page: Page, stack: RunningStack) -> Page:
    """The page with `colours`, which names the largest channel, and `lights`, which names all above thresholds."""
    page.goto(f"{stack.url}/compare?a=colours&b=lights")
    expect(page.get_by_label("Model B")).to_have_value("lights")
    return page


def paint(red, green, blue):
    """Return a picture of one colour, as a PNG for a file input."""
    pixels = np.full((30, 40, 3), (blue, green, red), np.uint8)
    return {"name": "paint.png", "mimeType": "image/png", "buffer": cv2.imencode(".png", pixels)[1].tobytes()}


RED, BLUE = paint(200, 20, 10), paint(20, 10, 200)


def choose(page, *files):
    page.get_by_label("Choose pictures").set_input_files(list(files))


def test_two_models_agree_or_differ_on_the_same_picture(comparison: Page):
    choose(comparison, RED)
    expect(comparison.locator("#pictures")).to_contain_text("Both say red.")
    expect(comparison.get_by_role("status").last).to_contain_text("No difference")

    choose(comparison, BLUE)

    expect(comparison.locator("#pictures")).to_contain_text("A says blue, B says none of the classes.")
    row = comparison.get_by_role("row", name="blue")
    expect(row.get_by_role("cell")).to_have_text(["86.8 %", "78.4 %"])


def test_several_pictures_are_counted_and_those_that_agree_can_be_left_out(comparison: Page):
    choose(comparison, RED, BLUE, BAD, RED, RED, BLUE)
    expect(comparison.get_by_role("status").last).to_have_text(
        "2 of 5 pictures differ. 1 picture could not be compared."
    )

    comparison.get_by_label("Only pictures that differ").check()

    statements = comparison.locator("#pictures strong:visible")
    says = "A says blue, B says none of the classes."
    expect(statements).to_have_text([says, "The image format is not accepted.", says])


def test_the_address_names_both_sides_and_versions(comparison: Page):
    choose(comparison, RED)
    comparison.get_by_label("Model B").select_option("Colours, stable (version 1)")
    expect(comparison.locator("#pictures")).to_contain_text("B is Colours, stable (version 1).")
    assert comparison.url.endswith("/compare?a=colours&b=colours/labels/stable")

    comparison.reload()

    expect(comparison.get_by_label("Model B")).to_have_value("colours/labels/stable")


def test_without_an_address_two_versions_are_compared_and_what_is_not_served_is_named(comparison: Page, stack):
    comparison.goto(f"{stack.url}/compare")
    expect(comparison.get_by_label("Model A")).to_have_value("colours")
    expect(comparison.get_by_label("Model B")).to_have_value("colours/versions/1")

    comparison.goto(f"{stack.url}/compare?a=lights&b=shades/versions/7")

    expect(comparison.get_by_text("Not served: shades/versions/7.")).to_be_visible()
    expect(comparison.get_by_label("Model A")).to_have_value("lights")


def test_a_comparison_is_cancelled(comparison: Page):
    held = []
    comparison.route("**/predict?**", lambda route: held.append(route))  # noqa: PLW0108  # playwright marks it
    choose(comparison, RED, BLUE)
    expect(comparison.get_by_role("status").last).to_have_text("Classifying, 0 of 2")

    comparison.get_by_role("button", name="Cancel").click()

    expect(comparison.get_by_role("status").last).to_have_text("Cancelled after 0 of 2.")
    expect(comparison.get_by_role("button", name="Cancel")).to_be_hidden()


def test_it_waits_until_a_model_is_available(comparison: Page, stack):
    comparison.clock.install()
    comparison.route("**/api/v1/models", lambda route: route.fulfill(json={"models": []}))
    comparison.goto(f"{stack.url}/compare")
    expect(comparison.get_by_text("Waiting for a model.")).to_be_visible()

    comparison.unroute("**/api/v1/models")
    comparison.clock.run_for(PAUSE_MS)

    expect(comparison.get_by_label("Model A")).to_have_value("colours")
    expect(comparison.get_by_text("Waiting for a model.")).to_be_hidden()


@pytest.mark.parametrize("page", [{}, PHONE], ids=["wide", "dark-phone"], indirect=True)
def test_axe_finds_nothing_and_nothing_needs_to_scroll_sideways(comparison: Page):
    choose(comparison, RED, BLUE, BAD)
    expect(comparison.get_by_role("status").last).to_contain_text("1 of 2 pictures")

    assert comparison.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(comparison) == []
