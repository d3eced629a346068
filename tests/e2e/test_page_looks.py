"""Accessibility of the page at /: keyboard, phone, dark mode, reduced motion, screen reader."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.accessibility import LOW_CONTRAST, UNNAMED

PHONE = {"viewport": {"width": 360, "height": 740}}
DARK = {"color_scheme": "dark"}
WIDTH = "document.documentElement.scrollWidth"
MAX_TAB_STOPS = 40
SMALL_TARGETS = """() => [...document.querySelectorAll("button, select, summary, .button, input:not([type=file])")]
    .filter((element) => element.checkVisibility())
    .filter((element) => Math.min(element.offsetWidth, element.offsetHeight) < 22)
    .map((element) => element.id || element.textContent)"""
FOCUS = """() => {
    const element = document.activeElement;
    const shown = element.type === "file" ? element.closest("label") : element;
    const { outlineStyle, outlineWidth } = getComputedStyle(shown);
    if (element === document.body) return ["BODY", false];
    return [element.id || element.textContent.trim(), outlineStyle !== "none" && parseFloat(outlineWidth) >= 2];
}"""


@pytest.fixture
def classified(page: Page, golden) -> Page:
    """The page with the result of one picture, from the model `digits`."""
    page.get_by_label("Model", exact=True).select_option("digits")
    page.get_by_label("Choose pictures").set_input_files(
        {
            "name": "a-rather-long-name-of-a-picture-that-fits-nowhere.png",
            "mimeType": "image/png",
            "buffer": golden[1][0],
        }
    )
    expect(page.locator(".top .name")).to_have_text("1")
    return page


def send_bad_file(page: Page) -> None:
    page.get_by_label("Choose pictures").set_input_files({"name": "a", "mimeType": "text/plain", "buffer": b"a"})
    expect(page.get_by_role("alert")).to_be_visible()


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_a_phone_does_not_need_to_scroll_sideways(classified):
    assert classified.evaluate(WIDTH) <= 360
    classified.get_by_role("button", name="Draw one").click()
    assert classified.evaluate(WIDTH) <= 360
    send_bad_file(classified)
    assert classified.evaluate(WIDTH) <= 360


@pytest.mark.parametrize("page", [{}, PHONE], ids=["wide", "phone"], indirect=True)
def test_the_score_below_one_of_several_pictures_is_not_cut_off(classified, golden):
    pictures = [{"name": "digit.png", "mimeType": "image/png", "buffer": golden[digit][0]} for digit in (1, 7)]
    classified.get_by_label("Choose pictures").set_input_files(pictures)
    button = classified.locator("#strip button").last
    expect(button).to_contain_text("%")

    button.locator(".name").evaluate(
        "(element) => { element.textContent = 'Cardigan Welsh corgi and many more words'; }"
    )

    inside = """(button) => {
        const [score, image] = [button.querySelector(".score"), button.querySelector("img")];
        const fits = score.scrollWidth <= score.clientWidth;
        const ends = score.getBoundingClientRect().bottom <= button.getBoundingClientRect().bottom;
        return [fits, ends, image.getBoundingClientRect().height];
    }"""
    assert button.evaluate(inside) == [True, True, 72]


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_on_a_phone_the_result_scrolls_into_view(classified):
    expect(classified.locator(".top")).to_be_in_viewport()
    expect(classified.locator(".bars li").last).to_be_in_viewport()


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_every_control_is_large_enough_for_fingers(classified):
    assert classified.evaluate(SMALL_TARGETS) == []


@pytest.mark.parametrize("page", [{}, DARK], ids=["light", "dark"], indirect=True)
def test_every_text_has_enough_contrast(classified):
    assert classified.evaluate(LOW_CONTRAST) == []
    send_bad_file(classified)
    assert classified.evaluate(LOW_CONTRAST) == []


@pytest.mark.parametrize("page", [DARK], indirect=True)
def test_the_drawing_area_is_white_on_the_dark_page(classified):
    assert classified.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 17, 22)"
    classified.get_by_role("button", name="Draw one").click()
    pixel = "[...document.getElementById('pad').getContext('2d').getImageData(5, 5, 1, 1).data]"

    assert classified.evaluate(pixel) == [255, 255, 255, 255]


@pytest.mark.parametrize(
    ("page", "animation_names"),
    [({"reduced_motion": "reduce"}, {"none"}), ({"reduced_motion": "no-preference"}, {"grow"})],
    ids=["reduced", "default"],
    indirect=["page"],
)
def test_reduced_motion_stops_animations(classified, animation_names):
    names = "[...document.querySelectorAll('.fill')].map((bar) => getComputedStyle(bar).animationName)"
    assert set(classified.evaluate(names)) == animation_names


def test_the_keyboard_reaches_every_control_in_page_order(classified):
    classified.get_by_role("button", name="Draw one").click()
    classified.keyboard.press("Tab")  # shows the focus ring, as for keyboard users
    classified.get_by_role("link", name="Skip to the picture").focus()
    expected = [
        "Skip to the picture",
        "Models",
        "model",
        "version",
        "explain",
        "choose",
        "draw",
        "clear",
        "url",
        "Fetch",
    ]
    names, without_ring = [], []
    while "BODY" not in names and len(names) < MAX_TAB_STOPS:
        name, visible = classified.evaluate(FOCUS)
        names.append(name)
        without_ring += [] if visible or name == "BODY" else [name]
        classified.keyboard.press("Tab")

    assert [name for name in names if name in expected] == expected
    assert names.index("Fetch") < names.index("Copy")
    assert without_ring == []


def test_the_keyboard_is_enough_to_classify(page, golden, image_host):
    # Listen now: otherwise the key may arrive before the browser hands its file dialogues over.
    page.on("filechooser", lambda _: None)
    page.get_by_label("Model", exact=True).focus()
    page.keyboard.type("Handwritten")
    expect(page.get_by_label("Model", exact=True)).to_have_value("digits")
    page.get_by_label("Choose pictures").focus()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files({"name": "six.png", "mimeType": "image/png", "buffer": golden[6][0]})
    expect(page.locator(".top .name")).to_have_text("6")
    folder, host = image_host
    (folder / "typed.png").write_bytes(golden[9][0])
    page.get_by_label("or paste an image URL").focus()
    page.keyboard.type(f"http://{host}/typed.png")
    page.keyboard.press("Enter")

    expect(page.locator(".top .name")).to_have_text("9")


def test_the_result_is_announced_once_and_every_element_has_a_name(classified):
    expect(classified.get_by_role("status")).to_have_text(re.compile(r"^1 \d+\.\d %$"))
    assert UNNAMED.findall(classified.locator("body").aria_snapshot()) == []
