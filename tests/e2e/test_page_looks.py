"""The page at / for everybody: by keyboard, on a phone, in the dark, without motion, read aloud."""

import re

import pytest
from playwright.sync_api import Page, expect

PHONE = {"viewport": {"width": 360, "height": 740}}
DARK = {"color_scheme": "dark"}
WIDTH = "document.documentElement.scrollWidth"
MOST_STOPS = 40
NAMELESS = re.compile(r"^\s*- (button|combobox|img|link|switch|textbox)(?! \")", re.MULTILINE)
# WCAG 2.2: contrast (1.4.3) of every text that is shown, with the colours of what lies behind it laid over each other.
TOO_PALE = """() => {
    const rgba = (text) => {
        const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
        return [r, g, b, a];
    };
    const over = ([r, g, b, a], ground) => [r, g, b].map((value, i) => value * a + ground[i] * (1 - a));
    const ground = (element) => {
        const colour = rgba(getComputedStyle(element).backgroundColor);
        if (colour[3] === 1) return colour.slice(0, 3);
        return over(colour, element.parentElement ? ground(element.parentElement) : [255, 255, 255]);
    };
    const luminance = (colour) => {
        const [r, g, b] = colour.map((value) => value / 255)
            .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const contrast = (one, other) => {
        const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
        return (light + 0.05) / (dark + 0.05);
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        const style = getComputedStyle(element);
        if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
        const behind = ground(element);
        const large = parseFloat(style.fontSize) >= 24 ||
            (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
        const ratio = contrast(over(rgba(style.color), behind), behind);
        if (ratio < (large ? 3 : 4.5)) found.push(`${texts.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
    }
    return found;
}"""
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
def answered(page: Page, golden) -> Page:
    """The page with an answer of the model for digits on it."""
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


def make_fail(page: Page) -> None:
    page.get_by_label("Choose pictures").set_input_files({"name": "a", "mimeType": "text/plain", "buffer": b"a"})
    expect(page.get_by_role("alert")).to_be_visible()


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_a_phone_needs_no_sideways_scrolling(answered):
    assert answered.evaluate(WIDTH) <= 360
    answered.get_by_role("button", name="Draw one").click()
    assert answered.evaluate(WIDTH) <= 360
    make_fail(answered)
    assert answered.evaluate(WIDTH) <= 360


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_on_a_phone_the_answer_comes_into_view(answered):
    expect(answered.locator(".top")).to_be_in_viewport()
    expect(answered.locator(".bars li").last).to_be_in_viewport()


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_fingers_find_every_control(answered):
    assert answered.evaluate(SMALL_TARGETS) == []


@pytest.mark.parametrize("page", [{}, DARK], ids=["light", "dark"], indirect=True)
def test_every_text_stands_out_from_its_ground(answered):
    assert answered.evaluate(TOO_PALE) == []
    make_fail(answered)
    assert answered.evaluate(TOO_PALE) == []


@pytest.mark.parametrize("page", [DARK], indirect=True)
def test_the_dark_page_is_dark_but_its_paper_white(answered):
    assert answered.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 17, 22)"
    answered.get_by_role("button", name="Draw one").click()
    pixel = "[...document.getElementById('pad').getContext('2d').getImageData(5, 5, 1, 1).data]"
    assert answered.evaluate(pixel) == [255, 255, 255, 255]


@pytest.mark.parametrize(
    ("page", "animated"),
    [({"reduced_motion": "reduce"}, {"none"}), ({"reduced_motion": "no-preference"}, {"grow"})],
    ids=["reduced", "any"],
    indirect=["page"],
)
def test_nothing_moves_for_those_who_do_not_want_it(answered, animated):
    names = "[...document.querySelectorAll('.fill')].map((bar) => getComputedStyle(bar).animationName)"
    assert set(answered.evaluate(names)) == animated


def test_the_keyboard_reaches_every_control_in_the_order_of_the_page(answered):
    answered.get_by_role("button", name="Draw one").click()
    answered.keyboard.press("Tab")  # from here on focus is shown, as it is to whoever uses the keyboard
    answered.get_by_role("link", name="Skip to the picture").focus()
    wanted = ["Skip to the picture", "Models", "model", "version", "explain", "choose", "draw", "clear", "url", "Fetch"]
    reached, unseen = [], []
    while "BODY" not in reached and len(reached) < MOST_STOPS:
        name, visible = answered.evaluate(FOCUS)
        reached.append(name)
        unseen += [] if visible or name == "BODY" else [name]
        answered.keyboard.press("Tab")
    assert [name for name in reached if name in wanted] == wanted
    assert reached.index("Fetch") < reached.index("Copy")
    assert unseen == []


def test_the_keyboard_alone_gets_an_answer(page, golden, picture_host):
    # From now on, or the browser may get the key before it is told to hand the dialogue over.
    page.on("filechooser", lambda _: None)
    page.get_by_label("Model", exact=True).focus()
    page.keyboard.type("Handwritten")
    expect(page.get_by_label("Model", exact=True)).to_have_value("digits")
    page.get_by_label("Choose pictures").focus()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files({"name": "six.png", "mimeType": "image/png", "buffer": golden[6][0]})
    expect(page.locator(".top .name")).to_have_text("6")
    folder, host = picture_host
    (folder / "typed.png").write_bytes(golden[9][0])
    page.get_by_label("or the address of one").focus()
    page.keyboard.type(f"http://{host}/typed.png")
    page.keyboard.press("Enter")
    expect(page.locator(".top .name")).to_have_text("9")


def test_the_answer_is_read_aloud_once_and_everything_has_a_name(answered):
    expect(answered.get_by_role("status")).to_have_text(re.compile(r"^1 \d+\.\d %$"))
    assert NAMELESS.findall(answered.locator("body").aria_snapshot()) == []
