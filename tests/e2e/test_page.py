"""The page at / in a real browser: pictures in, their classes with bars and times out, or the service's own words."""

import json
import os
import subprocess
import sys

import pytest
from playwright.sync_api import Page, expect

from tests.support.stack import ROOT

GIVE = """([bytes, kind]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], "given.png", {type: "image/png"}));
    if (kind === "paste") document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer}));
    else document.getElementById("stage").dispatchEvent(
        new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


@pytest.fixture
def digits(page: Page) -> Page:
    """The page with the model for digits chosen."""
    page.get_by_label("Model", exact=True).select_option("digits")
    expect(page.get_by_role("button", name="Draw one")).to_be_visible()
    return page


def png(name, data):
    return {"name": name, "mimeType": "image/png", "buffer": data}


def top(page):
    return page.locator(".top .name")


def test_a_file_is_answered_with_bars_and_times(digits, golden):
    data, label, probabilities = golden[7]
    digits.get_by_label("Choose pictures").set_input_files(png("seven.png", data))
    expect(top(digits)).to_have_text(label)
    expect(digits.locator(".bars li")).to_have_count(5)
    expect(digits.locator(".bars .name").first).to_have_text(label)
    expect(digits.locator(".bars .score").first).to_have_text(f"{max(probabilities) * 100:.1f} %")
    expect(digits.get_by_alt_text("The picture to classify")).to_be_visible()
    expect(digits.locator(".times")).to_contain_text("One request:")
    expect(digits.locator(".facts")).to_contain_text("digits, version ")


def test_a_drawn_digit(digits):
    digits.get_by_role("button", name="Draw one").click()
    box = digits.get_by_label("Drawing area").bounding_box()
    corners = [(0.3, 0.22), (0.72, 0.22), (0.45, 0.8)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    digits.mouse.move(*points[0])
    digits.mouse.down()
    for point in points[1:]:
        digits.mouse.move(*point, steps=12)
    digits.mouse.up()
    expect(top(digits)).to_have_text("7")
    with digits.expect_download() as download:
        digits.get_by_role("link", name="Save picture").click()
    assert download.value.suggested_filename == "drawing.png"


@pytest.mark.parametrize("digit", ["3", "6", "7"])
def test_a_sample_shows_what_its_name_says(digits, digit):
    digits.get_by_role("button", name=f"Sample: {digit}").click()
    expect(top(digits)).to_have_text(digit)


def test_a_url(digits, golden, picture_host):
    folder, host = picture_host
    (folder / "page.png").write_bytes(golden[4][0])
    digits.get_by_label("or the address of one").fill(f"http://{host}/page.png")
    digits.get_by_role("button", name="Fetch").click()
    expect(top(digits)).to_have_text("4")
    expect(digits.get_by_text("The service fetches it")).to_be_visible()


def test_a_pasted_url(digits, golden, picture_host):
    folder, host = picture_host
    (folder / "pasted.png").write_bytes(golden[2][0])
    digits.evaluate(
        """(text) => {
            const transfer = new DataTransfer();
            transfer.setData("text", text);
            document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer}));
        }""",
        f"http://{host}/pasted.png",
    )
    expect(top(digits)).to_have_text("2")


def test_a_bad_file_shows_the_services_own_words(digits):
    digits.get_by_label("Choose pictures").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    )
    expect(digits.get_by_role("alert")).to_contain_text("The image format is not accepted")
    expect(digits.get_by_role("alert")).to_contain_text("jpeg")
    expect(digits.get_by_text("Your browser does not show this format.")).to_be_visible()


def test_a_picture_after_a_bad_file_is_answered(digits, golden):
    choose = digits.get_by_label("Choose pictures")
    choose.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    expect(digits.get_by_role("alert")).to_be_visible()
    choose.set_input_files(png("five.png", golden[5][0]))
    expect(top(digits)).to_have_text("5")
    expect(digits.get_by_role("alert")).to_have_count(0)


def test_a_pasted_and_a_dropped_picture(digits, golden):
    for kind, digit in (("paste", 3), ("drop", 8)):
        digits.evaluate(GIVE, [list(golden[digit][0]), kind])
        expect(top(digits)).to_have_text(str(digit))


def test_every_link_leads_somewhere(page):
    addresses = page.evaluate("[...document.links].filter((link) => link.checkVisibility()).map((link) => link.href)")
    assert len(set(addresses)) >= 3
    for address in addresses:
        assert page.request.get(address).ok, address


def test_a_service_that_is_away_is_said_to_be(digits, golden):
    digits.context.set_offline(True)
    digits.get_by_label("Choose pictures").set_input_files(png("one.png", golden[1][0]))
    expect(digits.get_by_role("alert")).to_contain_text("The service cannot be reached")


@pytest.mark.parametrize("name", ["seven.png", 'it\'s; a 7, "maybe".png'])
def test_the_lines_to_copy_give_the_same_answer(digits, golden, tmp_path, name):
    (tmp_path / name).write_bytes(golden[7][0])
    digits.get_by_label("Choose pictures").set_input_files(tmp_path / name)
    expect(top(digits)).to_have_text("7")
    in_shell = run(["bash", "-c", digits.locator("#curl").inner_text()], tmp_path)
    assert json.loads(in_shell)["class"] == "7"
    in_python = run([sys.executable, "-c", digits.locator("#python").inner_text()], tmp_path)
    assert in_python.split()[0] == "7"


def test_the_lines_to_copy_for_a_url(digits, golden, picture_host, tmp_path):
    folder, host = picture_host
    (folder / "it's.png").write_bytes(golden[4][0])
    digits.get_by_label("or the address of one").fill(f"http://{host}/it's.png?a=1&b=2")
    digits.get_by_role("button", name="Fetch").click()
    expect(top(digits)).to_have_text("4")
    assert json.loads(run(["bash", "-c", digits.locator("#curl").inner_text()], tmp_path))["class"] == "4"
    assert run([sys.executable, "-c", digits.locator("#python").inner_text()], tmp_path).split()[0] == "4"


def test_what_is_copied_is_what_is_shown(digits):
    digits.context.grant_permissions(["clipboard-read", "clipboard-write"])
    digits.get_by_role("button", name="Copy the curl command").click()
    expect(digits.get_by_role("status")).to_have_text("Copied")
    assert digits.evaluate("navigator.clipboard.readText()") == digits.locator("#curl").inner_text()


def run(command, folder):
    """Run a command in a folder; give what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True, text=True).stdout
