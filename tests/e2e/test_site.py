"""The documentation as a site: built strictly, it needs nothing from elsewhere, and search finds its pages."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.conftest import BROWSER_MS
from tests.support.folder_server import serving
from tests.support.stack import ROOT

BUILD_S = 110
SETTING_RESULT = re.compile(r"/reference/\w+\.html.*h=gateway_max_pixels")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=BUILD_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serving(folder) as host:
        yield f"http://{host}"


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """A page of a browser; fails if it requests anything elsewhere, or anything that is not there."""
    context = browser.new_context()
    context.set_default_timeout(BROWSER_MS)
    page = context.new_page()
    failures: list[str] = []
    page.on("request", lambda item: None if item.url.startswith((url, "blob:", "data:")) else failures.append(item.url))
    page.on("response", lambda item: None if item.ok else failures.append(f"{item.status} {item.url}"))
    page.on("pageerror", lambda error: failures.append(str(error)))
    yield page
    context.close()
    assert failures == []


@pytest.mark.parametrize("path", ["index", "architecture", "concepts/overview", "guides/train", "reference/settings"])
def test_a_page_loads_everything_from_the_site(path: str, page: Page, url: str):
    page.goto(f"{url}/{path}.html")

    expect(page.locator("article h1")).to_be_visible()
    page.wait_for_load_state("networkidle")
    images = page.locator("article img").evaluate_all("all => all.map(image => image.naturalWidth)")
    assert 0 not in images


def test_search_finds_a_setting(page: Page, url: str):
    page.goto(f"{url}/index.html")

    # The search listens to keys.
    page.locator(".md-search__input").first.press_sequentially("GATEWAY_MAX_PIXELS")

    expect(page.locator(".md-search-result__link").first).to_have_attribute("href", SETTING_RESULT)


def test_llms_txt_lists_every_page(folder: Path):
    text = (folder / "llms.txt").read_text(encoding="utf-8")
    pages = {path.relative_to(folder).as_posix() for path in folder.rglob("*.html")} - {"404.html"}

    assert len(pages) > 50
    assert [page for page in pages if f"]({page})" not in text] == []


def test_links_out_of_docs_lead_to_pages_of_the_site(folder: Path):
    text = (folder / "guides" / "access.html").read_text(encoding="utf-8")

    assert 'href="../reference/problems.html"' in text
    assert 'href="../security.html"' in (folder / "start" / "systems.html").read_text(encoding="utf-8")
