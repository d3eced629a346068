"""The request of the page at / as code in several languages, and the last answer as JSON, behind tabs."""

import json
import shutil
import subprocess

import pytest
from playwright.sync_api import Page, expect

NODE = shutil.which("node")
NODE_S = 60


@pytest.fixture
def seven(page: Page, golden, tmp_path) -> Page:
    """The page with the result of one picture, which is in `tmp_path` too."""
    name = 'it\'s; a 7, "maybe".png'
    (tmp_path / name).write_bytes(golden[7][0])
    page.get_by_label("Model", exact=True).select_option("digits")
    page.get_by_label("Choose pictures").set_input_files(tmp_path / name)
    expect(page.locator(".top .name")).to_have_text("7")
    return page


def run_node(lines: str, folder) -> str:
    if NODE is None:
        pytest.skip("Node is not installed")
    command = [NODE, "--input-type=module", "--eval", lines]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=NODE_S, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_one_tab_is_shown_and_the_arrow_keys_lead_to_the_others(page):
    tabs = page.get_by_role("tab")
    expect(tabs).to_have_text(["curl", "Python", "JavaScript", "JSON"])
    expect(page.get_by_role("tabpanel")).to_have_count(1)
    tabs.first.focus()
    for key, name in (("ArrowRight", "Python"), ("End", "JSON"), ("ArrowRight", "curl"), ("ArrowLeft", "JSON")):
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=name, exact=True)).to_be_focused()
        expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tabpanel", name=name, exact=True)).to_be_visible()

    assert page.locator('[role="tab"][tabindex="-1"]').count() == 3


def test_the_copied_javascript_gives_the_same_result(seven, tmp_path):
    assert run_node(seven.locator("#javascript").inner_text(), tmp_path).split()[0] == "7"


def test_the_copied_javascript_works_for_several_pictures(page, golden, tmp_path):
    for digit in (2, 3):
        (tmp_path / f"{digit}.png").write_bytes(golden[digit][0])
    page.get_by_label("Model", exact=True).select_option("digits")
    page.get_by_label("Choose pictures").set_input_files([tmp_path / "2.png", tmp_path / "3.png"])
    expect(page.get_by_role("status").last).to_have_text("2 pictures classified")

    assert run_node(page.locator("#javascript").inner_text(), tmp_path).split() == ["2", "3"]


def test_the_copied_javascript_works_for_a_url(page, golden, image_host, tmp_path):
    folder, host = image_host
    (folder / "code.png").write_bytes(golden[4][0])
    page.get_by_label("Model", exact=True).select_option("digits")
    page.get_by_label("or paste an image URL").fill(f"http://{host}/code.png")
    page.get_by_role("button", name="Fetch").click()
    expect(page.locator(".top .name")).to_have_text("4")

    assert run_node(page.locator("#javascript").inner_text(), tmp_path).split()[0] == "4"


def test_the_json_is_the_last_answer_with_a_shortened_heat_map(seven):
    seven.get_by_role("switch", name="Heat map").check()
    expect(seven.get_by_alt_text("Heat map for “7”")).to_be_visible()
    document = json.loads(seven.locator("#json").inner_text())

    assert (document["class"], document["model"]["name"]) == ("7", "digits")
    assert document["request_id"] == seven.locator(".facts code").inner_text()
    assert document["explanation"]["heatmap"].startswith("data:image/png;base64,")
    assert document["explanation"]["heatmap"].endswith(" characters)")
    seven.get_by_role("button", name="Clear").click()
    expect(seven.locator("#json")).to_have_text("Classify a picture to see the answer.")


def test_the_json_of_a_problem_is_its_document(page):
    page.get_by_label("Choose pictures").set_input_files({"name": "a", "mimeType": "text/plain", "buffer": b"a"})
    expect(page.get_by_role("alert")).to_be_visible()

    assert json.loads(page.locator("#json").inner_text())["type"] == "/problems/unsupported-image-format"
