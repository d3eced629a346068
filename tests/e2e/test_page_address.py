"""The address of the page at / names what is chosen: it can be opened, reloaded, sent, and gone back to."""

import re

import pytest
from playwright.sync_api import Page, expect

FACTS = ".facts"


def top(page: Page):
    return page.locator(".top .name")


def open_page(page: Page, stack, query: str) -> None:
    page.goto(f"{stack.url}/{query}")


def choose_model(page: Page, name: str) -> None:
    page.get_by_label("Model", exact=True).select_option(name)


def expect_choices(
    page: Page, *, model: str, version: str = "", heat_map: bool = False, original: bool = False
) -> None:
    expect(page.get_by_label("Model", exact=True)).to_have_value(model)
    expect(page.get_by_label("Version", exact=True)).to_have_value(version)
    expect(page.get_by_role("switch", name="Heat map")).to_be_checked(checked=heat_map)
    expect(page.get_by_role("switch", name="Send the original")).to_be_checked(checked=original)


def test_a_link_opens_model_version_switches_and_picture(page, stack, image_host, golden):
    folder, host = image_host
    (folder / "linked.png").write_bytes(golden[6][0])

    open_page(page, stack, f"?model=digits&version=2&explain=1&original=1&url=http://{host}/linked.png")

    expect_choices(page, model="digits", version="versions/2", heat_map=True, original=True)
    expect(top(page)).to_have_text("6")
    expect(page.get_by_alt_text("Heat map for “6”")).to_be_visible()
    expect(page.locator("#curl")).to_contain_text("/models/digits/versions/2/predict?explain=true")


def test_the_address_names_every_choice_and_a_reload_keeps_them(page, stack):
    assert page.url == f"{stack.url}/"
    choose_model(page, "digits")
    page.get_by_label("Version", exact=True).select_option("Version 2")
    page.get_by_role("switch", name="Heat map").check()
    page.get_by_role("switch", name="Send the original").check()
    expect(page).to_have_url(f"{stack.url}/?model=digits&version=2&explain=1&original=1")

    page.reload()

    expect_choices(page, model="digits", version="versions/2", heat_map=True, original=True)


def test_back_and_forward_lead_through_the_choices(page):
    expect_choices(page, model="imagenet")
    choose_model(page, "digits")
    expect(page.get_by_role("button", name="Draw one")).to_be_visible()
    page.get_by_role("switch", name="Heat map").check()

    page.go_back()
    expect_choices(page, model="digits")
    page.go_back()
    expect_choices(page, model="imagenet")
    expect(page.locator("#about")).to_contain_text("imagenet")
    page.go_forward()
    page.go_forward()

    expect_choices(page, model="digits", heat_map=True)
    expect(page.locator("#about")).to_contain_text("digits")


def test_back_leads_to_the_previous_picture(page, image_host, golden):
    folder, host = image_host
    choose_model(page, "digits")
    for digit in (1, 5):
        (folder / f"{digit}.png").write_bytes(golden[digit][0])
        page.get_by_label("or paste an image URL").fill(f"http://{host}/{digit}.png")
        page.get_by_role("button", name="Fetch").click()
        expect(top(page)).to_have_text(str(digit))

    page.go_back()
    expect(top(page)).to_have_text("1")
    page.go_back()

    expect(page.get_by_text("The most likely classes appear here.")).to_be_visible()


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("?model=none", "There is no model “none” here. The default model is used instead."),
        ("?model=%3Cb%3E", "There is no model “<b>” here."),
        ("?model=digits&version=99", "The model digits has no version 99. Its newest version is used instead."),
        ("?model=digits&version=x", "The model digits has no version x. Its newest version is used instead."),
        ("?model=digits&label=canary", "The model digits has no version with the label “canary”."),
    ],
)
def test_what_does_not_exist_is_named_and_replaced(page, stack, query, sentence):
    open_page(page, stack, query)

    expect(page.locator("#notice")).to_contain_text(sentence)
    expect_choices(page, model="digits" if "digits" in query else "imagenet")
    expect(page).to_have_url(re.compile(r"/(\?model=digits)?$"))


def test_code_to_copy_never_has_code_from_the_address(page, stack):
    page.route("**/api/v1/models", lambda route: route.abort())  # so that the version cannot be checked

    open_page(page, stack, "?model=digits&version=__import__('os').abort()")

    expect(page.locator("#python")).to_contain_text("version=")
    expect(page.locator("#python")).not_to_contain_text("__import__")


@pytest.mark.parametrize("query", ["?version=", "?explain=0", "?other=1", "?model="])
def test_what_is_not_understood_changes_nothing(page, stack, query):
    open_page(page, stack, query)

    expect(page.locator("#about")).to_contain_text("imagenet")
    expect(page.locator("#notice")).to_be_hidden()
    expect_choices(page, model="imagenet")
