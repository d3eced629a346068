"""Pictures on their way to the service: scaled down, uploaded with progress, cancelled, previewed, cleared, dragged."""

import base64
import re

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.support.axe import violations
from tests.support.image_files import encoded_with_orientation

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
DRAG = """(data) => {
    const transfer = new DataTransfer();
    for (const [type, text] of Object.entries(data)) transfer.setData(type, text);
    const options = {dataTransfer: transfer, bubbles: true, cancelable: true};
    return document.body.dispatchEvent(new DragEvent("drop", options));
}"""


def noise(height: int, width: int, suffix: str = ".jpg") -> bytes:
    """Return a picture whose file is large."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def choose(page: Page, name: str, content: bytes, media_type: str = "image/jpeg") -> None:
    page.get_by_label("Choose pictures").set_input_files({"name": name, "mimeType": media_type, "buffer": content})


def top(page: Page):
    return page.locator(".top .name")


def record_uploads(page: Page) -> None:
    """Keep the files that the page uploads from now on, for `uploaded`; the browser does not tell them by itself."""
    page.evaluate("""() => {
        window.uploads = [];
        const {send} = XMLHttpRequest.prototype;
        XMLHttpRequest.prototype.send = function (body) {
            window.uploads.push(body.get("image"));
            send.call(this, body);
        };
    }""")


def uploaded(page: Page) -> bytes:
    """Return the file that was uploaded last."""
    url = page.evaluate("""() => new Promise((resolve) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result);
        reader.readAsDataURL(window.uploads.at(-1));
    })""")
    return base64.b64decode(url.partition(",")[2])


def hold_predictions(page: Page) -> list:
    """Return a list to which each request for a prediction is added, in place of being sent."""
    held: list = []
    page.route("**/predict*", lambda route: held.append(route))  # noqa: PLW0108  # it must be a Python function
    return held


def empty_result(page: Page):
    return page.get_by_text("The most likely classes appear here.")


# Scaled down


def test_a_large_photo_is_scaled_down_and_its_sizes_are_shown(page):
    content = noise(1800, 2700)
    record_uploads(page)
    choose(page, "large.jpg", content)
    expect(top(page)).to_be_visible()

    expect(page.locator("#caption")).to_have_text(re.compile(r"large\.jpg, [\d.]+ MB, scaled down to [\d.]+ (k|M)B"))
    sent = uploaded(page)
    assert len(sent) < len(content) / 2
    pixels = cv2.imdecode(np.frombuffer(sent, np.uint8), cv2.IMREAD_COLOR)
    assert pixels.shape == (1024, 1536, 3)


@pytest.mark.parametrize(
    ("name", "channels", "start"),
    [
        ("opaque.webp", 3, b"\xff\xd8"),
        ("transparent.webp", 4, b"\x89PNG"),
        ("screenshot.png", 3, b"\x89PNG"),
        ("without-suffix.jpg", 3, b"\xff\xd8"),
    ],
)
def test_what_is_scaled_down_stays_a_photo_and_keeps_its_transparency(page, name, channels, start):
    pixels = np.random.default_rng(1).integers(0, 256, (1700, 1700, channels), np.uint8)
    content = cv2.imencode(name[name.index(".") :], pixels)[1].tobytes()
    record_uploads(page)
    choose(page, name, content, "")
    expect(page.locator("#caption")).to_contain_text("scaled down")

    sent = uploaded(page)
    assert sent.startswith(start)
    decoded = cv2.imdecode(np.frombuffer(sent, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.shape[:2] == (1024, 1024)
    assert (channels == 4) == (decoded.shape[2] == 4 and decoded[..., 3].min() < 255)


def test_a_turned_photo_is_scaled_down_upright(page):
    pixels = np.random.default_rng(1).integers(0, 256, (1700, 2500, 3), np.uint8)
    record_uploads(page)
    choose(page, "turned.jpg", encoded_with_orientation(pixels, ".jpg", 6))
    expect(page.locator("#caption")).to_contain_text("scaled down")

    decoded = cv2.imdecode(np.frombuffer(uploaded(page), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.shape == (1506, 1024, 3)


def test_a_photo_larger_than_the_limit_is_classified(page):
    content = noise(1100, 1100) + bytes(11_000_000)  # decoders ignore what follows the end of the image
    record_uploads(page)
    choose(page, "huge.jpg", content)

    expect(top(page)).to_be_visible()
    assert len(uploaded(page)) < 2_000_000


def test_the_original_is_sent_if_the_switch_says_so(page):
    content = noise(1600, 1600)
    page.get_by_role("switch", name="Send the original").check()
    record_uploads(page)
    choose(page, "large.jpg", content)
    expect(top(page)).to_be_visible()
    assert uploaded(page) == content
    page.get_by_role("switch", name="Send the original").uncheck()

    expect(page.locator("#caption")).to_contain_text("scaled down")
    assert len(uploaded(page)) < len(content) / 2


def test_a_photo_of_usual_size_is_sent_as_it_is(page):
    content = noise(1100, 1400)
    record_uploads(page)
    choose(page, "photo.jpg", content)
    expect(top(page)).to_be_visible()

    assert uploaded(page) == content
    expect(page.locator("#caption")).not_to_contain_text("scaled down")


def test_a_format_that_the_browser_cannot_decode_is_sent_as_it_is(page):
    content = noise(600, 600, ".tiff")
    record_uploads(page)
    choose(page, "scan.tiff", content, "image/tiff")
    expect(top(page)).to_be_visible()

    assert uploaded(page) == content
    expect(page.get_by_text("Your browser cannot display this format.")).to_be_visible()


# On their way


def test_while_a_new_picture_is_on_its_way_nothing_of_the_old_one_is_shown(page, golden):
    page.get_by_label("Model", exact=True).select_option("digits")
    page.get_by_role("switch", name="Heat map").check()
    choose(page, "one.png", golden[1][0])
    expect(page.get_by_alt_text("Heat map for “1”")).to_be_visible()
    held = hold_predictions(page)
    choose(page, "two.png", golden[2][0])

    expect(empty_result(page)).to_be_visible()
    expect(page.locator("#heatmap")).to_be_hidden()
    expect(page.locator("#caption")).to_contain_text("two.png")
    expect(page.locator("#progress-text")).to_have_text("Waiting for the answer")
    held[0].continue_()
    expect(top(page)).to_have_text("2")
    expect(page.locator("#progress")).to_be_hidden()


def test_a_cancelled_picture_can_be_sent_again(page, golden):
    page.get_by_label("Model", exact=True).select_option("digits")
    held = hold_predictions(page)
    choose(page, "three.png", golden[3][0])
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("Cancelled")
    expect(page.locator("#progress")).to_be_hidden()
    page.unroute("**/predict*")
    page.get_by_role("button", name="Try again").click()

    expect(top(page)).to_have_text("3")
    assert len(held) == 1


def test_clear_removes_the_picture_its_result_and_its_address(page, stack, image_host, golden):
    folder, host = image_host
    (folder / "clear.png").write_bytes(golden[8][0])
    page.goto(f"{stack.url}/?model=digits&explain=1&url=http://{host}/clear.png")
    expect(page.get_by_alt_text("Heat map for “8”")).to_be_visible()
    page.get_by_role("button", name="Clear").click()

    expect(empty_result(page)).to_be_visible()
    expect(page.get_by_text("Drop pictures here")).to_be_visible()
    for hidden in ("#preview", "#heatmap", "#opacity", "#clear"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#caption")).to_be_empty()
    expect(page).to_have_url(f"{stack.url}/?model=digits&explain=1")


def test_nothing_moves_when_the_result_comes(page):
    page.evaluate("""() => {
        window.shift = 0;
        new PerformanceObserver((list) => list.getEntries().forEach((entry) => { window.shift += entry.value; }))
            .observe({type: "layout-shift", buffered: false});
    }""")
    page.get_by_role("button", name="Sample: lighthouse").click()
    expect(top(page)).to_have_text("lighthouse")

    assert page.evaluate("new Promise((resolve) => requestAnimationFrame(() => resolve(window.shift)))") < 0.01


# Problems that may pass


def refuse(route, status=503, **headers: str) -> None:
    body = '{"type": "/problems/overloaded", "title": "Too many requests", "detail": "Try again.", "status": 503}'
    route.fulfill(status=status, headers={"Content-Type": "application/problem+json", **headers}, body=body)


def test_a_refused_request_is_sent_again_after_the_time_that_the_service_names(page, golden):
    page.get_by_label("Model", exact=True).select_option("digits")
    page.route("**/predict*", lambda route: refuse(route, **{"Retry-After": "5"}))
    choose(page, "four.png", golden[4][0])
    expect(page.locator("#progress-text")).to_have_text("Too many requests. Trying again in 5 s")
    page.unroute("**/predict*")

    expect(top(page)).to_have_text("4")


def test_a_long_wait_is_left_to_the_user(page, golden):
    page.get_by_label("Model", exact=True).select_option("digits")
    page.route("**/predict*", lambda route: refuse(route, 429, **{"Retry-After": "3600"}), times=1)
    choose(page, "four.png", golden[4][0])
    expect(page.get_by_role("alert")).to_contain_text("Too many requests")
    expect(page.get_by_role("link", name="What this means, and what to do")).to_have_attribute(
        "href", "problems/overloaded"
    )
    page.get_by_role("button", name="Try again").click()

    expect(top(page)).to_have_text("4")


def test_an_answer_of_something_else_is_named(page, golden):
    page.route("**/predict*", lambda route: route.fulfill(status=200, content_type="text/html", body="<p>Log in</p>"))
    choose(page, "four.png", golden[4][0])

    expect(page.get_by_role("alert")).to_contain_text(
        "The answer is not JSON. A login page or a proxy may have answered"
    )


def test_a_problem_of_the_picture_offers_no_second_attempt(page):
    choose(page, "notes.txt", b"no picture", "text/plain")
    expect(page.get_by_role("alert")).to_be_visible()

    expect(page.get_by_role("button", name="Try again")).to_have_count(0)


def test_after_an_outage_the_page_classifies_by_itself(page, golden):
    page.get_by_label("Model", exact=True).select_option("digits")
    expect(page.get_by_role("button", name="Draw one")).to_be_visible()
    page.context.set_offline(True)
    choose(page, "nine.png", golden[9][0])
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached")
    expect(page.locator("#service")).to_contain_text("Waiting for the service.")
    page.context.set_offline(False)

    expect(top(page)).to_have_text("9")
    expect(page.locator("#service")).to_be_hidden()


def test_the_page_waits_for_the_service_at_the_start(page):
    page.route("**/api/v1/models", lambda route: route.abort())
    page.reload()
    expect(page.locator("#service")).to_contain_text("Waiting for the service. The service cannot be reached.")
    page.unroute("**/api/v1/models")

    expect(page.get_by_label("Model", exact=True)).to_have_value("imagenet")
    expect(page.locator("#service")).to_be_hidden()


def test_the_page_waits_for_the_model_at_the_start(page):
    details = '{"name": "imagenet", "available": false, "default": true, "reason": "It is loading.", "versions": []}'
    page.route("**/api/v1/models/imagenet", lambda route: route.fulfill(content_type="application/json", body=details))
    page.reload()
    expect(page.locator("#service")).to_contain_text("Waiting for the model imagenet.")
    expect(page.locator("#service")).to_contain_text("It is loading.")
    page.unroute("**/api/v1/models/imagenet")

    expect(page.locator("#about")).to_contain_text("One class per picture")
    expect(page.locator("#service")).to_be_hidden()


# From other places


def test_the_preview_of_a_url_comes_from_the_service(page, image_host, golden):
    folder, host = image_host
    (folder / "preview.png").write_bytes(golden[5][0])
    page.get_by_label("or paste an image URL").fill(f"http://{host}/preview.png")
    page.get_by_role("button", name="Fetch").click()

    preview = page.get_by_alt_text("The picture to classify")
    expect(preview).to_be_visible()
    assert preview.get_attribute("src").startswith("blob:")


def test_a_failed_fetch_says_why_in_place_of_the_preview(page, image_host):
    page.get_by_label("or paste an image URL").fill(f"http://{image_host[1]}/missing.png")
    page.get_by_role("button", name="Fetch").click()

    expect(page.locator("#hint")).to_contain_text("The URL answered with status 404")
    expect(page.get_by_role("alert")).to_contain_text("The image could not be fetched from the URL")


@pytest.mark.parametrize("kind", ["image", "list", "data"])
def test_a_picture_dragged_from_another_page_is_classified(page, image_host, golden, kind):
    folder, host = image_host
    (folder / "dragged.png").write_bytes(golden[7][0])
    url = f"http://{host}/dragged.png"
    data_url = f"data:image/png;base64,{base64.b64encode(golden[7][0]).decode()}"
    data = {
        "image": {"text/html": f'<a href="https://other.example/"><img src="{url}"></a>', "text/uri-list": "https://x"},
        "list": {"text/uri-list": f"# a comment\r\n{url}"},
        "data": {"text/html": f'<img src="{data_url}">'},
    }[kind]
    page.get_by_label("Model", exact=True).select_option("digits")
    is_left_to_browser = page.evaluate(DRAG, data)

    assert not is_left_to_browser
    expect(top(page)).to_have_text("7")


@pytest.mark.parametrize("data", [{"text/html": "<p>text"}, {"text/uri-list": "javascript:alert(1)"}, {}])
def test_whatever_is_dropped_the_browser_stays_on_the_page(page, stack, data):
    assert not page.evaluate(DRAG, data)

    expect(page.get_by_text("Drop pictures here")).to_be_visible()
    assert page.url == f"{stack.url}/"


@pytest.mark.parametrize(
    ("page", "is_offered"), [(PHONE, True), ({}, False)], ids=["phone", "desktop"], indirect=["page"]
)
def test_a_camera_is_offered_where_there_is_one(page, is_offered):
    expect(page.get_by_text("Take a photo")).to_be_visible(visible=is_offered)
    expect(page.get_by_label("Take a photo")).to_have_attribute("capture", "environment")


@pytest.mark.parametrize("page", [PHONE], indirect=True)
def test_a_phone_shows_the_picture_beside_its_result(page):
    page.get_by_role("button", name="Sample: macaw").click()
    expect(top(page)).to_have_text("macaw")

    expect(page.locator("#preview")).to_be_in_viewport(ratio=0.9)
    expect(page.locator(".bars li").last).to_be_in_viewport(ratio=0.9)


def test_every_model_has_samples_that_it_knows(page):
    page.get_by_label("Model", exact=True).select_option("cifar10")
    samples = page.locator("#sample-list button")
    expect(samples).to_have_count(10)
    for name in ("cat", "ship"):
        page.get_by_role("button", name=f"Sample: {name}").click()
        expect(top(page)).to_have_text(name)


# The heat map


def test_the_heat_map_lies_on_what_the_model_sees_and_can_be_faded(page):
    page.get_by_role("switch", name="Heat map").check()
    page.get_by_role("button", name="Sample: lighthouse").click()
    heatmap = page.locator("#heatmap")
    expect(heatmap).to_be_visible()
    boxes = page.evaluate("['heatmap', 'preview'].map((id) => document.getElementById(id).getBoundingClientRect())")
    page.get_by_label("Opacity").fill("30")

    assert boxes[0]["width"] == pytest.approx(boxes[0]["height"], abs=1)  # the middle of a wide photo
    assert boxes[0]["width"] < boxes[1]["width"]
    expect(heatmap).to_have_css("opacity", "0.3")


# Accessibility by axe


@pytest.mark.parametrize("page", [{}, {"color_scheme": "dark"}, PHONE], ids=["light", "dark", "phone"], indirect=True)
def test_axe_finds_nothing_in_any_state(page, golden):
    expect(page.locator("#samples")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("switch", name="Heat map").check()
    page.get_by_role("button", name="Sample: lighthouse").click()
    expect(page.locator("#heatmap")).to_be_visible()
    page.get_by_role("tab", name="JSON").click()
    assert violations(page) == []
    held = hold_predictions(page)
    choose(page, "one.png", golden[1][0])
    expect(page.locator("#progress")).to_be_visible()
    assert violations(page) == []
    held[0].abort()
    expect(page.get_by_role("alert")).to_be_visible()

    assert violations(page) == []
