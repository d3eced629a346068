import re

import pytest
from flask.testing import FlaskClient

from gateway.http.pages import STATIC

FILES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file())
PAGES = ["/", "/docs", *(f"/static/{name}" for name in FILES)]


@pytest.mark.parametrize("path", PAGES)
def test_every_file_is_served_under_the_policy(client: FlaskClient, path: str):
    with client.get(path) as response:
        assert response.status_code == 200
        assert response.data
        policy = response.headers["Content-Security-Policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not any("unsafe" in directive or "http" in directive for directive in policy)


def test_the_playground_is_html(client: FlaskClient):
    with client.get("/") as response:
        assert response.mimetype == "text/html"


@pytest.mark.parametrize("path", ["/static/", "/static/none.js", "/static/../app.py", "/static/%2e%2e/app.py"])
def test_nothing_else_is_served(client: FlaskClient, path: str):
    response = client.get(path)
    assert (response.status_code, response.get_json(force=True)["type"]) == (404, "/problems/not-found")


def test_the_pages_keep_to_their_own_policy():
    """What the policy forbids would silently not work: code or style inside the page, anything from elsewhere."""
    for name in FILES:
        if not name.endswith(".html"):
            continue
        page = (STATIC / name).read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=", page), name
        assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page), name


def test_every_file_that_a_page_names_is_there():
    for name in FILES:
        named = re.findall(r"[\"'(]/static/([^\"')]+)", (STATIC / name).read_text(encoding="utf-8"))
        assert not set(named) - set(FILES), name


def test_every_module_that_another_one_imports_is_there():
    imported = {
        (STATIC / name).parent.joinpath(module).resolve().relative_to(STATIC).as_posix()
        for name in FILES
        if name.endswith(".js") and "/" not in name
        for module in re.findall(r'^import .* from "(.+)";$', (STATIC / name).read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert "api.js" in imported
    assert not imported - set(FILES)


def test_every_sample_that_is_offered_is_there():
    offered = set(re.findall(r': "(\w+)",$', (STATIC / "samples.js").read_text(encoding="utf-8"), re.MULTILINE))
    assert offered == {path.stem for path in (STATIC / "samples").iterdir()}
