"""The HTML page of docs/guides/languages/javascript.md classifies a photo, as a page of another origin."""

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.support import documents
from tests.support.documents import ROOT
from tests.support.stack import RunningStack


def test_the_page_shows_what_a_photo_is(browser: Browser, stack: RunningStack, image_host: tuple[Path, str]):
    (block,) = [block for block in documents.blocks() if block.file_name == "classify.html"]
    html = block.text.replace("http://localhost:8080", stack.url)
    (image_host[0] / "classify.html").write_text(html, encoding="utf-8")
    page = browser.new_page()
    page.goto(f"http://{image_host[1]}/classify.html")

    page.get_by_label("Photo").set_input_files(ROOT / "examples" / "macaws.jpg")

    expect(page.get_by_role("status")).to_contain_text("macaw 0.9")
    page.close()
