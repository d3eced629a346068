"""The page at / with several model versions, multi-label models, and models with and without heat maps."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.support.stack import ROOT, RunningStack, running
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(600)  # the first test writes the models, with TensorFlow, and starts the stack
WRITE_S = 300
LOAD_S = 60
BAD = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    subprocess.run(
        [sys.executable, "-m", "tests.support.colour_models", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=WRITE_S,
    )
    return folder


@pytest.fixture(scope="module")
def stack(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack that serves the models of tests/support/colour_models.py instead of the committed ones."""
    with running(tmp_path_factory.mktemp("run"), models_config=models / "models.config") as started:
        yield started


@pytest.fixture
def lights(page: Page) -> Page:
    """The page with the multi-label model chosen."""
    page.get_by_label("Model", exact=True).select_option("lights")
    expect(page.locator("#about")).to_contain_text("Any number of classes per picture")
    return page


def paint(red, green, blue):
    """Return a picture of one colour, as a PNG for a file input."""
    pixels = np.full((30, 40, 3), (blue, green, red), np.uint8)
    return {"name": "paint.png", "mimeType": "image/png", "buffer": cv2.imencode(".png", pixels)[1].tobytes()}


RED, GREEN, BLUE = paint(200, 20, 10), paint(20, 200, 10), paint(20, 10, 200)


def choose(page, *files):
    page.get_by_label("Choose pictures").set_input_files(list(files))


def top(page):
    return page.locator(".top .name")


def record_posts(page):
    """Return a list to which each POST request of the page is added from now on."""
    urls = []
    page.on("request", lambda request: urls.append(request.url) if request.method == "POST" else None)
    return urls


def test_every_version_and_label_can_be_chosen(page):
    version = page.get_by_label("Version", exact=True)
    names = ["Newest (version 2)", "canary (version 2)", "stable (version 1)", "Version 2", "Version 1"]
    expect(version.locator("option")).to_have_text(names)
    choose(page, RED)
    expect(page.locator(".facts")).to_contain_text("colours, version 2")
    for name, path in (("stable (version 1)", "labels/stable"), ("Version 1", "versions/1")):
        version.select_option("")
        expect(page.locator(".facts")).to_contain_text("colours, version 2")
        version.select_option(name)
        expect(page.locator(".facts")).to_contain_text("colours, version 1")
        expect(page.locator("#curl")).to_contain_text(f"/models/colours/{path}/predict")


def test_the_time_of_each_stage_is_shown(page):
    choose(page, BLUE)
    expect(page.locator(".legend")).to_contain_text("decode")
    expect(page.locator(".legend")).to_contain_text("predict")
    expect(page.locator(".times")).to_contain_text("in the service")


def test_several_pictures_go_in_one_request(page):
    post_urls = record_posts(page)
    choose(page, RED, GREEN, BAD, BLUE)
    pictures = page.get_by_role("list", name="Your pictures").get_by_role("button")
    expect(pictures).to_contain_text(["red", "green", "problem", "blue"])
    expect(page.get_by_role("status")).to_have_text("4 pictures classified, 1 of them failed")
    expect(page.locator(".times")).to_contain_text("4 pictures in one request")
    pictures.nth(2).click()
    expect(page.get_by_role("alert")).to_contain_text("The image format is not accepted")
    pictures.nth(3).focus()
    page.keyboard.press("Enter")

    expect(top(page)).to_have_text("blue")
    expect(pictures.nth(3)).to_have_attribute("aria-current", "true")
    assert len(post_urls) == 1


def test_many_pictures_go_in_several_requests(page):
    post_urls = record_posts(page)
    choose(page, *([GREEN] * 19), RED)

    expect(page.get_by_role("status")).to_have_text("20 pictures classified")
    expect(page.get_by_role("list", name="Your pictures").get_by_role("button").last).to_contain_text("red")
    assert len(post_urls) == 2


def test_a_picture_chosen_before_the_models_are_listed_is_classified_once(page):
    held = []

    def hold(route):
        held.append(route)

    page.route("**/api/v1/models", hold)
    page.reload()
    post_urls = record_posts(page)
    choose(page, RED)
    expect(top(page)).to_have_text("red")
    expect(page.locator("#curl")).not_to_contain_text("models/colours")
    held[0].continue_()

    expect(page.locator("#about")).to_contain_text("colours")
    expect(page.locator("#curl")).to_contain_text("models/colours")
    expect(top(page)).to_have_text("red")
    assert len(post_urls) == 1


def test_the_heat_map_covers_the_picture_until_it_is_switched_off(page, tmp_path):
    page.get_by_label("Heat map").check()
    choose(page, RED)
    heatmap = page.get_by_alt_text("Heat map for “red”")
    expect(heatmap).to_be_visible()
    assert heatmap.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 0
    (tmp_path / RED["name"]).write_bytes(RED["buffer"])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    lines = page.locator("#python").inner_text()
    subprocess.run([sys.executable, "-c", lines], cwd=tmp_path, env=environment, check=True, timeout=LOAD_S)
    assert cv2.imread(str(tmp_path / "heatmap.png")) is not None
    post_urls = record_posts(page)
    page.get_by_label("Heat map").uncheck()
    expect(heatmap).to_be_hidden()
    expect(page.locator("#curl")).not_to_contain_text("explain")
    page.get_by_label("Heat map").check()

    expect(heatmap).to_be_visible()
    assert post_urls == []


def test_switching_on_the_heat_map_classifies_again(page):
    choose(page, GREEN)
    expect(top(page)).to_have_text("green")
    page.get_by_label("Heat map").check()

    expect(page.get_by_alt_text("Heat map for “green”")).to_be_visible()


def test_a_model_without_heat_maps_says_so_and_classifies(lights):
    switch = lights.get_by_label("Heat map")
    expect(switch).to_be_disabled()
    expect(switch).not_to_be_checked()
    choose(lights, RED)
    expect(lights.locator(".top .tag")).to_have_text(["red"])
    expect(lights.locator("#unexplained")).not_to_be_empty()
    lights.get_by_label("Model", exact=True).select_option("colours")

    expect(switch).to_be_enabled()
    expect(lights.locator("#unexplained")).to_be_empty()


@pytest.mark.parametrize("is_linked", [True, False], ids=["link", "choice"])
def test_no_heat_map_is_requested_from_a_model_without_them(page, stack, is_linked):
    if is_linked:
        page.goto(f"{stack.url}/?model=lights&explain=1")
        expect(page.locator("#about")).to_contain_text("lights")
        choose(page, RED)
    else:
        page.get_by_role("switch", name="Heat map").check()
        choose(page, RED)
        expect(page.get_by_alt_text("Heat map for “red”")).to_be_visible()
        page.get_by_label("Model", exact=True).select_option("lights")

    expect(page.locator(".top .tag")).to_have_text(["red"])
    expect(page.locator("#curl")).not_to_contain_text("explain")
    expect(page).to_have_url(f"{stack.url}/?model=lights")


def test_several_classes_are_shown_with_their_thresholds(lights):
    choose(lights, paint(80, 200, 200))
    expect(lights.locator(".top .tag")).to_have_text(["green", "red"])
    expect(lights.locator(".bars .name")).to_have_text(
        ["green threshold 50.0 %", "blue threshold 90.0 %", "red threshold 20.0 %"]
    )
    expect(lights.locator(".bars .strong .name")).to_have_text(["green threshold 50.0 %", "red threshold 20.0 %"])
    expect(lights.get_by_role("status")).to_have_text("green, red")


def test_the_page_says_if_the_model_is_not_sure(page):
    choose(page, RED)
    expect(top(page)).to_have_text("red")
    expect(page.locator(".doubt")).to_have_count(0)
    expect(page.locator("#about")).to_contain_text("below a confidence of 50.0 %")

    choose(page, paint(100, 90, 80))
    expect(top(page)).to_have_text("red")
    expect(page.locator(".top")).to_contain_text("Not sure, perhaps")
    expect(page.get_by_role("status")).to_have_text("Not sure, perhaps red 37.0 %")


def test_captions_of_several_pictures_name_class_and_score_and_mark_unsure_ones(page):
    choose(page, RED, paint(100, 90, 80))

    captions, tooltips = page.locator("#strip .text"), page.locator("#strip button")
    expect(captions).to_have_text([re.compile(r"^red \d+\.\d %$"), "red 37.0 % not sure"])
    expect(tooltips.last).to_have_attribute("title", re.compile(r"^paint\.png: Not sure, perhaps red 37\.0 %$"))


def test_a_picture_may_have_none_of_the_classes(lights):
    choose(lights, paint(10, 10, 10))
    expect(lights.locator(".top")).to_have_text("None of the classes")
    expect(lights.locator(".bars li")).to_have_count(3)


def test_drawing_is_offered_only_for_models_of_drawings(page):
    expect(page.locator("#about")).to_contain_text("8 pixels, colour, stretched to fit")
    expect(page.get_by_role("button", name="Draw one")).to_be_hidden()
    expect(page.locator("#samples")).to_be_hidden()


def test_a_new_version_is_noticed_by_its_predictions(lights, models):
    newest = lights.get_by_label("Version", exact=True).locator("option").first

    def is_noticed():
        choose(lights, RED)
        expect(lights.locator("#answer")).to_have_attribute("aria-busy", "false")
        return newest.inner_text() == "Newest (version 2)"

    assert not is_noticed()
    shutil.copytree(models / "lights" / "1", models / "lights.2")
    (models / "lights.2").rename(models / "lights" / "2")
    until(is_noticed, LOAD_S, "version 2 offered")
