"""The pages in a real browser below a path of another proxy, which removes the path from requests or keeps it."""

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.support.light_gateway import light_gateway
from tests.support.stack import answers, listens
from tests.support.waiting import until
from tools import nginx
from tools.ports import find

START_S = 30
CONFIGURATION = """
daemon off;
pid nginx.pid;
error_log stderr;
events {{ }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location /removed/ {{ proxy_pass {stack}/; }}
        location /kept {{ proxy_pass {keeper}; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def proxy(stack, tmp_path_factory) -> Iterator[str]:
    """The URL of an nginx in front of the stack, and of a gateway that knows its path."""
    folder = tmp_path_factory.mktemp("proxy")
    (port,) = find(1)
    settings = {
        "GATEWAY_ROOT_PATH": "/kept",
        "GATEWAY_MODELS": "digits",
        "GATEWAY_TFS_TARGET": f"127.0.0.1:{stack.ports.grpc}",
        "GATEWAY_START_WAIT_S": "30",
    }
    with (folder / "gateway.log").open("wb") as log, light_gateway(folder, log, settings) as keeper:
        configuration = folder / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(port=port, stack=stack.url, keeper=f"http://127.0.0.1:{keeper.port}"), encoding="utf-8"
        )
        process = subprocess.Popen(nginx.command(nginx.find(), configuration), stderr=log)
        until(lambda: process.poll() is not None or listens(port), START_S, "nginx")
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{url}/kept/readyz") and answers(f"{url}/removed/readyz"), START_S, "both paths")
        yield url
        process.terminate()
        process.wait()


@pytest.fixture
def page_of(browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Return a function that opens a page; fails if the page reports an error, such as a file that is not found."""
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)

    def open_page(url: str) -> Page:
        page.goto(url)
        return page

    yield open_page
    page.close()
    assert errors == []


@pytest.mark.parametrize("root", ["/removed/", "/kept", "/kept/"])
def test_a_photo_is_classified_on_the_page_and_by_its_curl_command(proxy, page_of, golden, tmp_path, root):
    page = page_of(f"{proxy}{root}")
    page.get_by_label("Model", exact=True).select_option("digits")
    content, label, _ = golden[7]
    (tmp_path / "seven.png").write_bytes(content)
    page.get_by_label("Choose pictures").set_input_files(tmp_path / "seven.png")
    expect(page.locator(".top .name")).to_have_text(label)

    command = page.locator("#curl").inner_text()

    assert f"{proxy}{root.rstrip('/')}/api/v1/" in command
    output = subprocess.run(["bash", "-c", f"{command} -s"], cwd=tmp_path, capture_output=True, check=True).stdout
    assert json.loads(output)["class"] == label
    assert f'Client("{proxy}{root.rstrip("/")}")' in page.locator("#python").inner_text()


@pytest.mark.parametrize("root", ["/removed/", "/kept/"])
def test_the_links_of_the_page_lead_to_the_documentation_that_sends_requests(proxy, page_of, root):
    page = page_of(f"{proxy}{root}")
    page.get_by_role("link", name="API docs").first.click()
    listing = page.locator("#operations-Models-models")
    listing.locator(".opblock-summary-control").click()
    listing.get_by_role("button", name="Execute").click()

    expect(listing.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    assert page.url.startswith(f"{proxy}{root}docs")


@pytest.mark.parametrize("root", ["/removed/", "/kept/"])
def test_models_lead_to_the_page_that_tries_them_and_to_the_comparison(proxy, page_of, root):
    page = page_of(f"{proxy}{root}models")
    page.get_by_role("link", name="Compare: digits").click()
    expect(page.get_by_label("Model A")).to_have_value("digits")
    assert page.url == f"{proxy}{root}compare?a=digits"
    page.get_by_role("link", name="Models").click()

    page.get_by_role("link", name="Try it: digits").click()

    expect(page.get_by_label("Model", exact=True)).to_have_value("digits")


def test_the_document_of_the_api_names_the_path_that_the_gateway_knows(proxy):
    assert requests.get(f"{proxy}/kept/api/v1/openapi.json", timeout=10).json()["servers"] == [{"url": "/kept"}]
