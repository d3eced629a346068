"""The page at / in a real browser: a picture in, the right class and its bars out."""

import json
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def page(browser, stack) -> Iterator[Page]:
    """The page, opened; it must have logged no error and asked nobody else in the end."""
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if "Content Security" in message.text else None)
    page.on(
        "request", lambda request: None if request.url.startswith((stack.url, "blob:")) else faults.append(request.url)
    )
    page.goto(stack.url)
    yield page
    context.close()
    assert faults == []


def test_a_file_is_answered_with_bars(page, golden):
    data, label, _ = golden[7]
    page.get_by_label("Choose a file").set_input_files({"name": "seven.png", "mimeType": "image/png", "buffer": data})
    expect(page.locator(".top")).to_have_text(label)
    expect(page.locator(".bars li")).to_have_count(5)
    expect(page.locator(".bars .name").first).to_have_text(label)
    expect(page.get_by_alt_text("The picture to classify")).to_be_visible()
    expect(page.locator("#curl")).to_contain_text("curl -F image=@seven.png")


def test_a_drawn_digit(page):
    page.get_by_role("button", name="Draw").click()
    box = page.get_by_label("Drawing area").bounding_box()
    corners = [(0.3, 0.22), (0.72, 0.22), (0.45, 0.8)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=12)
    page.mouse.up()
    expect(page.locator(".top")).to_have_text("7")


def test_a_url(page, golden, picture_host):
    folder, host = picture_host
    (folder / "page.png").write_bytes(golden[4][0])
    page.get_by_label("or the address of one").fill(f"http://{host}/page.png")
    page.get_by_role("button", name="Fetch").click()
    expect(page.locator(".top")).to_have_text("4")


def test_a_bad_file_shows_the_services_own_words(page):
    page.get_by_label("Choose a file").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    )
    expect(page.get_by_role("alert")).to_contain_text("The image format is not accepted")
    expect(page.get_by_role("alert")).to_contain_text("jpeg")


def test_a_pasted_and_a_dropped_picture(page, golden):
    give = """([bytes, kind]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], "given.png", {type: "image/png"}));
        if (kind === "paste") document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer}));
        else document.getElementById("stage").dispatchEvent(new DragEvent("drop", {dataTransfer: transfer}));
    }"""
    for kind, digit in (("paste", 3), ("drop", 8)):
        page.evaluate(give, [list(golden[digit][0]), kind])
        expect(page.locator(".top")).to_have_text(str(digit))


def test_the_model_is_chosen_from_those_served(page):
    expect(page.get_by_label("Model").locator("option")).to_have_count(1)
    expect(page.get_by_label("Model")).to_have_value("digits")


def test_a_phone_needs_no_sideways_scrolling(page, golden):
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_label("Choose a file").set_input_files(
        {"name": "a-rather-long-name-of-a-picture.png", "mimeType": "image/png", "buffer": golden[1][0]}
    )
    expect(page.locator(".top")).to_have_text("1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard_reaches_every_control(page):
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert {"model", "file", "draw", "url", "Fetch"} <= reached, json.dumps(sorted(reached))
