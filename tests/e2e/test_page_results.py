"""Several pictures on the page at /: their order, the keyboard, and what can be downloaded."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from image_gateway_client.resume import check_json, read_csv
from tests.support.axe import violations

BAD = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
TOP_K = 5


@pytest.fixture
def several(page: Page, golden) -> Page:
    """The page with the results of a nine, a two, a file that is not a picture, and a four."""
    page.get_by_label("Model", exact=True).select_option("digits")
    names = {9: "10.png", 2: "9.png", 4: "=1+1.png"}
    nine, two, four = (
        {"name": name, "mimeType": "image/png", "buffer": golden[digit][0]} for digit, name in names.items()
    )
    page.get_by_label("Choose pictures").set_input_files([nine, two, BAD, four])
    expect(page.locator("#counts")).to_have_text(re.compile(r"^4 pictures, .*1 problem$"))
    return page


def names(page: Page) -> list[str]:
    """Return the names of the pictures in the order of the list."""
    return page.locator("#strip img").evaluate_all("images => images.map((image) => image.alt)")


def download(page: Page, name: str) -> tuple[str, bytes]:
    """Download the results, and return the name and the content of the file."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name=name).click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("As chosen", ["10.png", "9.png", "notes.txt", "=1+1.png"]),
        ("By name", ["=1+1.png", "9.png", "10.png", "notes.txt"]),
        ("By class", ["9.png", "=1+1.png", "10.png", "notes.txt"]),
    ],
)
def test_pictures_are_put_into_an_order(several: Page, order: str, expected: list[str]):
    several.get_by_label("Order of the pictures").select_option(order)

    assert names(several) == expected


def test_problems_come_first_and_low_scores_next(several: Page):
    several.get_by_label("Order of the pictures").select_option("Problems first")
    assert names(several)[0] == "notes.txt"
    several.get_by_label("Order of the pictures").select_option("Lowest score first")

    scores = [float(text.removesuffix(" %")) for text in several.locator("#strip .score").all_inner_texts()]
    assert scores == sorted(scores)
    assert names(several)[-1] == "notes.txt"


def test_the_arrow_keys_choose_a_picture_in_the_order_shown(several: Page):
    several.get_by_label("Order of the pictures").select_option("By class")
    several.locator("#strip button[tabindex='0']").focus()
    assert several.locator("#strip button[tabindex='0']").count() == 1

    several.keyboard.press("Home")
    expect(several.locator(".top .name")).to_have_text("2")
    several.keyboard.press("ArrowRight")
    expect(several.locator(".top .name")).to_have_text("4")
    several.keyboard.press("End")

    expect(several.get_by_role("alert")).to_contain_text("The image format is not accepted")
    expect(several.locator("#strip button").last).to_be_focused()


def test_the_downloads_have_the_form_that_the_command_writes(several: Page):
    name, table = download(several, "Download CSV")
    records = read_csv(table, TOP_K).records
    assert name == "predictions.csv"
    assert [(record.image, record.model) for record in records] == [
        ("10.png", "digits"),
        ("9.png", "digits"),
        ("notes.txt", None),
        ("=1+1.png", "digits"),
    ]
    assert b"\n'=1+1.png," in table

    name, text = download(several, "Download JSON")

    check_json(text)
    documents = json.loads(text)
    assert name == "predictions.json"
    assert [document.get("class") for document in documents] == ["9", "2", None, "4"]
    assert documents[2]["problem"]["type"] == "/problems/unsupported-image-format"


@pytest.mark.parametrize("page", [{}, {"color_scheme": "dark"}], ids=["light", "dark"], indirect=True)
def test_axe_finds_nothing(several: Page):
    assert violations(several) == []
