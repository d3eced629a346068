"""Take the pictures of the page that the documentation shows, from the running service.

    make screenshots                          # from make run at http://localhost:8080
    make screenshots PORT=9080                # from another port

Chromium opens the page, classifies a photo of examples/ with a heat map, and writes docs/images/page-*.webp.
"""

import argparse
import io
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Error, Page, ViewportSize, expect, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
PHOTO = ROOT / "examples" / "macaws.jpg"
LABEL = "macaw"
TIMEOUT_MS = 60_000
WEBP_QUALITY = 82


@dataclass(frozen=True, slots=True)
class Screenshot:
    """One picture.

    Attributes:
        name: Name of its file, without the suffix.
        width: Width of the window, in CSS pixels.
        height: Height of the window, in CSS pixels.
        colours: Colour scheme that the browser asks for.
        top: Selector of the element that is scrolled to the top of the window.
    """

    name: str
    width: int
    height: int
    colours: Literal["light", "dark"] = "light"
    top: str = "header"


SCREENSHOTS = (
    Screenshot("page-light", 1100, 760),
    Screenshot("page-dark", 1100, 760, colours="dark"),
    Screenshot("page-phone", 360, 740, top="#stage"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Take all pictures; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.screenshots", description="Take the pictures of the page that the documentation shows."
    )
    parser.add_argument("--url", default="http://localhost:8080", help="address of the running service")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures")
    options = parser.parse_args(arguments)
    try:
        take(SCREENSHOTS, options.url, options.out)
    except Error as error:
        reason = error.message.splitlines()[0]
        print(f"{options.url} could not be shown: {reason}. Start the service first: make run", file=sys.stderr)
        return 1
    return 0


def take(screenshots: Sequence[Screenshot], url: str, folder: Path) -> None:
    """Take pictures of the page at a URL and write them as WebP."""
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for screenshot in screenshots:
            path = folder / f"{screenshot.name}.webp"
            png = capture(browser, screenshot, url)
            Image.open(io.BytesIO(png)).convert("RGB").save(path, quality=WEBP_QUALITY, method=6)
            print(f"{path} ({path.stat().st_size // 1000} kB)")
        browser.close()


def capture(browser: Browser, screenshot: Screenshot, url: str) -> bytes:
    """Return a picture of the page after it has answered, as PNG."""
    size = ViewportSize(width=screenshot.width, height=screenshot.height)
    context = browser.new_context(viewport=size, color_scheme=screenshot.colours, reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    page.goto(url)
    classify(page)
    page.locator(screenshot.top).evaluate("element => element.scrollIntoView({block: 'start'})")
    png = page.screenshot()
    context.close()
    return png


def classify(page: Page) -> None:
    """Have the page classify the photo, with a heat map, and wait for both."""
    page.locator("#explain").check()
    page.locator("#choose").set_input_files(PHOTO)
    expect(page.locator("#answer")).to_contain_text(LABEL, timeout=TIMEOUT_MS)
    expect(page.locator("#heatmap")).to_be_visible(timeout=TIMEOUT_MS)
    page.wait_for_load_state("networkidle")


if __name__ == "__main__":
    sys.exit(main())
