"""The page at / in a real browser: it classifies pictures and shows classes, times and problems."""

import json
import os
import subprocess
import sys

import pytest
from playwright.sync_api import Page, expect

from tests.support.stack import ROOT

SEND_FILE = """([bytes, event]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], "picture.png", {type: "image/png"}));
    if (event === "paste") document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: transfer}));
    else document.getElementById("stage").dispatchEvent(
        new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


@pytest.fixture
def digits(page: Page) -> Page:
    """The page with the model `digits` chosen."""
    page.get_by_label("Model", exact=True).select_option("digits")
    expect(page.get_by_role("button", name="Draw one")).to_be_visible()
    return page


def png(name, data):
    return {"name": name, "mimeType": "image/png", "buffer": data}


def top(page):
    return page.locator(".top .name")


def test_a_file_is_classified_with_bars_and_times(digits, golden):
    data, label, probabilities = golden[7]
    digits.get_by_label("Choose pictures").set_input_files(png("seven.png", data))

    expect(top(digits)).to_have_text(label)
    expect(digits.locator(".bars li")).to_have_count(5)
    expect(digits.locator(".bars .name").first).to_have_text(label)
    expect(digits.locator(".bars .score").first).to_have_text(f"{max(probabilities) * 100:.1f} %")
    expect(digits.get_by_alt_text("The picture to classify")).to_be_visible()
    expect(digits.locator(".times")).to_contain_text("One request:")
    expect(digits.locator(".facts")).to_contain_text("digits, version ")


def test_a_drawn_digit_is_classified_and_can_be_saved(digits):
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


def test_each_sample_is_classified_as_its_name_says(digits):
    for digit in ("3", "6", "7"):
        digits.get_by_role("button", name=f"Sample: {digit}").click()
        expect(top(digits)).to_have_text(digit)


def test_the_default_model_has_photos_as_samples(page):
    for name in ("macaw", "lighthouse", "warplane"):
        page.get_by_role("button", name=f"Sample: {name}").click()
        expect(top(page)).to_have_text(name)


def test_a_url_is_fetched_and_classified(digits, golden, image_host):
    folder, host = image_host
    (folder / "page.png").write_bytes(golden[4][0])
    digits.get_by_label("or paste an image URL").fill(f"http://{host}/page.png")
    digits.get_by_role("button", name="Fetch").click()

    expect(top(digits)).to_have_text("4")
    expect(digits.get_by_alt_text("The picture to classify")).to_be_visible()


def test_a_pasted_url_is_fetched_and_classified(digits, golden, image_host):
    folder, host = image_host
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


def test_the_problem_of_a_bad_file_is_shown(digits):
    digits.get_by_label("Choose pictures").set_input_files(
        {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}
    )
    expect(digits.get_by_role("alert")).to_contain_text("The image format is not accepted")
    expect(digits.get_by_role("alert")).to_contain_text("jpeg")
    expect(digits.get_by_text("Your browser cannot display this format.")).to_be_visible()


def test_a_picture_after_a_bad_file_is_classified(digits, golden):
    choose = digits.get_by_label("Choose pictures")
    choose.set_input_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    expect(digits.get_by_role("alert")).to_be_visible()
    choose.set_input_files(png("five.png", golden[5][0]))

    expect(top(digits)).to_have_text("5")
    expect(digits.get_by_role("alert")).to_have_count(0)


def test_pasted_and_dropped_pictures_are_classified(digits, golden):
    for event, digit in (("paste", 3), ("drop", 8)):
        digits.evaluate(SEND_FILE, [list(golden[digit][0]), event])
        expect(top(digits)).to_have_text(str(digit))


def test_every_link_works(page, stack):
    addresses = page.evaluate("[...document.links].filter((link) => link.checkVisibility()).map((link) => link.href)")
    assert len(set(addresses)) >= 3
    for address in addresses:
        if address.startswith(stack.url):
            assert page.request.get(address).ok, address
        else:  # cannot be opened from here
            assert address == "https://spdx.org/licenses/Apache-2.0.html"


def test_an_unreachable_service_is_reported(digits, golden):
    digits.context.set_offline(True)
    digits.get_by_label("Choose pictures").set_input_files(png("one.png", golden[1][0]))

    expect(digits.get_by_role("alert")).to_contain_text("The service cannot be reached")


@pytest.mark.parametrize("name", ["seven.png", 'it\'s; a 7, "maybe".png'])
def test_the_copied_code_gives_the_same_result(digits, golden, tmp_path, name):
    (tmp_path / name).write_bytes(golden[7][0])
    digits.get_by_label("Choose pictures").set_input_files(tmp_path / name)
    expect(top(digits)).to_have_text("7")
    curl_output = run(["bash", "-c", digits.locator("#curl").inner_text()], tmp_path)
    assert json.loads(curl_output)["class"] == "7"
    python_output = run([sys.executable, "-c", digits.locator("#python").inner_text()], tmp_path)

    assert python_output.split()[0] == "7"


def test_the_copied_code_works_for_a_url(digits, golden, image_host, tmp_path):
    folder, host = image_host
    (folder / "it's.png").write_bytes(golden[4][0])
    digits.get_by_label("or paste an image URL").fill(f"http://{host}/it's.png?a=1&b=2")
    digits.get_by_role("button", name="Fetch").click()

    expect(top(digits)).to_have_text("4")
    assert json.loads(run(["bash", "-c", digits.locator("#curl").inner_text()], tmp_path))["class"] == "4"
    assert run([sys.executable, "-c", digits.locator("#python").inner_text()], tmp_path).split()[0] == "4"


def test_the_copy_button_copies_the_code(digits):
    digits.context.grant_permissions(["clipboard-read", "clipboard-write"])
    digits.get_by_role("button", name="Copy the curl command").click()

    expect(digits.get_by_role("status")).to_have_text("Copied")
    assert digits.evaluate("navigator.clipboard.readText()") == digits.locator("#curl").inner_text()


def run(command, folder):
    """Run a command in a folder and return its output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True, text=True).stdout
