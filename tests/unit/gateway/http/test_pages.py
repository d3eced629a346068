import re
from typing import get_args

import pytest
from flask.testing import FlaskClient

from gateway.http.pages import STATIC
from vision.card import Resize

FILES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file())
HTML = ("/", "/models", "/compare", "/docs")
PAGES = [*HTML, *(f"/static/{name}" for name in FILES)]


@pytest.fixture
def pages(client: FlaskClient) -> dict[str, str]:
    """The HTML of each page by its path."""
    texts = {}
    for path in HTML:
        with client.get(path) as response:
            texts[path] = response.text
    return texts


def test_every_file_is_served_with_the_policy(client: FlaskClient):
    assert len(FILES) > 20
    for path in PAGES:
        with client.get(path) as response:
            assert response.status_code == 200, path
            assert response.data, path
            policy = response.headers["Content-Security-Policy"].split("; ")
        assert "default-src 'none'" in policy, path
        assert "frame-ancestors 'none'" in policy, path
        assert not any("unsafe" in directive or "http" in directive for directive in policy), path


def test_the_playground_is_html(client: FlaskClient):
    with client.get("/") as response:
        assert response.mimetype == "text/html"


def test_a_file_that_the_browser_has_is_not_sent_again(client: FlaskClient):
    with client.get("/static/style.css") as response:
        etag, cache_control = response.headers["ETag"], response.headers["Cache-Control"]

    for known in (etag, f'"other", {etag}', "*", f"W/{etag}"):
        with client.get("/static/style.css", headers={"If-None-Match": known}) as response:
            assert (response.status_code, response.data) == (304, b""), known
            assert (response.headers["ETag"], response.headers["Cache-Control"]) == (etag, cache_control), known
            assert "default-src 'none'" in response.headers["Content-Security-Policy"], known
    for other in ('"other"', "", '"', ","):
        with client.get("/static/style.css", headers={"If-None-Match": other}) as response:
            assert response.status_code == 200, other


def test_dates_and_ranges_are_not_looked_at(client: FlaskClient):
    """werkzeug's parser of dates raises an error for a year of many digits."""
    date = f"Mon, 01 Jan {'4' * 36} 01:00:00 GMT"
    for headers in (
        {"If-Modified-Since": date},
        {"Range": "bytes=0-1", "If-Range": date},
        {"Range": f"bytes={'1' * 5000}-"},
    ):
        with client.get("/docs", headers=headers) as response:
            assert response.status_code == 200, headers
            assert len(response.data) > 100, headers


def test_nothing_else_is_served(client: FlaskClient):
    for path in ("/static/", "/static/none.js", "/static/../app.py", "/static/%2e%2e/app.py"):
        response = client.get(path)
        assert (response.status_code, response.get_json(force=True)["type"]) == (404, "/problems/not-found"), path


def test_the_pages_comply_with_their_own_policy(pages: dict[str, str]):
    """Browsers silently ignore what the policy forbids: inline scripts and styles, and anything from other hosts."""
    for name, page in pages.items():
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", page), name
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page), name


def test_every_file_that_a_page_refers_to_exists(pages: dict[str, str]):
    texts = [(STATIC / name).read_text(encoding="utf-8") for name in FILES if not name.endswith(".jpg")]
    references = {
        reference for text in (*pages.values(), *texts) for reference in re.findall(r"[\"'(]static/([^\"')]+)", text)
    }
    assert "style.css" in references
    assert references - set(FILES) == set()


def test_every_link_is_relative_so_that_the_pages_work_below_a_path(pages: dict[str, str]):
    own_files = [name for name in FILES if name.endswith((".html", ".js", ".css")) and "swagger-ui/" not in name]
    assert {"docs/index.html", "docs/docs.js", "models/page.js", "style.css"} <= set(own_files)
    texts = pages | {name: (STATIC / name).read_text(encoding="utf-8") for name in own_files}
    for name, text in texts.items():
        assert not re.search(r"""["'`(]/(?:static|docs|api|problems)\b|(?:href|src|action)=["']/""", text), name


def test_every_imported_module_exists():
    imported = {
        (STATIC / name).parent.joinpath(module).resolve().relative_to(STATIC).as_posix()
        for name in FILES
        if name.endswith(".js") and "swagger-ui/" not in name
        for module in re.findall(r'^import .* from "(.+)";$', (STATIC / name).read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert "api.js" in imported
    assert not imported - set(FILES)


def test_preloaded_modules_are_those_that_other_modules_lead_to(pages: dict[str, str]):
    preloaded = set(re.findall(r'rel="modulepreload" href="static/([\w.]+)"', pages["/"]))
    imported = {
        module
        for name in FILES
        if name.endswith(".js") and "/" not in name
        for module in re.findall(r'^import .*"\./(.+)";$', (STATIC / name).read_text(encoding="utf-8"), re.MULTILINE)
    }

    assert preloaded
    assert preloaded <= imported


def test_every_sample_exists():
    names = set(re.findall(r': "([\w.]+)",$', (STATIC / "samples.js").read_text(encoding="utf-8"), re.MULTILINE))
    assert names == {path.name for path in (STATIC / "samples").iterdir()}


def test_every_way_to_fit_an_image_has_words():
    words = re.findall(r'^  (\w+): "', (STATIC / "model.js").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(get_args(Resize)) <= set(words)
