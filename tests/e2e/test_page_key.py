"""The page of a service that requires a key: it asks for one, stores it for the tab, and sends it with requests."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from image_gateway_client import Client, ProblemError
from image_gateway_client.keys import add_key
from tests.e2e.conftest import BROWSER_MS
from tests.support.client_command import runner
from tests.support.stack import ROOT, RunningStack, running


@pytest.fixture(scope="module")
def keyed(tmp_path_factory) -> Iterator[tuple[RunningStack, str]]:
    """A stack with the committed models that requires a key, and the key."""
    file = tmp_path_factory.mktemp("keys") / "api-keys"
    key = add_key("visitor", file)
    with running(tmp_path_factory.mktemp("run"), environment={"GATEWAY_API_KEYS_FILE": str(file)}) as stack:
        yield stack, key


@pytest.fixture
def key_page(browser: Browser, keyed) -> Iterator[Page]:
    """The page, just opened."""
    context = browser.new_context()
    context.set_default_timeout(BROWSER_MS)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(keyed[0].url)
    yield page
    context.close()
    assert errors == []


def enter_key(page, key):
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use key").click()


def top(page):
    return page.locator(".top .name")


def choose_seven(page, golden):
    page.get_by_label("Model", exact=True).select_option("digits")
    picture = {"name": "seven.png", "mimeType": "image/png", "buffer": golden[7][0]}
    page.get_by_label("Choose pictures").set_input_files(picture)
    expect(top(page)).to_have_text("7")


def test_the_page_asks_for_a_key_and_uses_it(key_page, keyed, golden):
    expect(key_page.get_by_label("API key")).to_be_focused()
    expect(key_page.get_by_text("This service requires an API key.")).to_be_visible()
    enter_key(key_page, f" {keyed[1]} ")
    expect(key_page.get_by_label("API key")).to_be_hidden()
    choose_seven(key_page, golden)


def test_a_wrong_key_is_reported_and_asked_for_again(key_page, keyed, golden):
    enter_key(key_page, "igk_visitor.wrong")
    expect(key_page.get_by_text("The API key is not valid.")).to_be_visible()
    expect(key_page.get_by_label("API key")).to_have_value("")
    enter_key(key_page, keyed[1])
    choose_seven(key_page, golden)


def test_a_key_that_a_header_cannot_carry_is_not_accepted(key_page):
    enter_key(key_page, "schlüssel")
    expect(key_page.get_by_label("API key")).to_be_visible()
    assert not key_page.get_by_label("API key").evaluate("input => input.checkValidity()")


def test_the_key_is_stored_for_this_tab_only(key_page, keyed, golden):
    enter_key(key_page, keyed[1])
    expect(key_page.get_by_label("API key")).to_be_hidden()
    key_page.reload()
    choose_seven(key_page, golden)
    other = key_page.context.new_page()
    other.goto(keyed[0].url)

    expect(other.get_by_label("API key")).to_be_visible()
    assert key_page.context.cookies() == []


def test_the_copied_code_reads_the_key_from_the_environment(key_page, keyed, golden, tmp_path):
    enter_key(key_page, keyed[1])
    choose_seven(key_page, golden)
    (tmp_path / "seven.png").write_bytes(golden[7][0])
    curl, python = key_page.locator("#curl").inner_text(), key_page.locator("#python").inner_text()
    assert keyed[1] not in curl + python
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IMAGE_GATEWAY_API_KEY": keyed[1]}

    def output(*command):
        process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True, text=True)
        return process.stdout

    assert json.loads(output("bash", "-c", curl))["class"] == "7"
    assert output(sys.executable, "-c", python).split()[0] == "7"


@pytest.mark.parametrize("path", ["models", "compare"])
def test_the_other_pages_ask_for_a_key_too(key_page, keyed, path):
    key_page.goto(f"{keyed[0].url}/{path}")
    enter_key(key_page, keyed[1])

    expect(key_page.get_by_label("API key")).to_be_hidden()
    expect(key_page.get_by_text("Handwritten digits").first).to_be_attached()


def test_the_api_docs_open_and_accept_a_key(key_page, keyed):
    key_page.goto(f"{keyed[0].url}/docs")
    expect(key_page.get_by_role("button", name=re.compile("^Authorize"))).to_be_visible()


# The client, against the same service


def test_the_client_sends_its_key(keyed, golden):
    stack, key = keyed
    with Client(stack.url, api_key=key) as client:
        assert client.classify(golden[3][0], model="digits").label == "3"
    with Client(stack.url) as client:
        assert client.ready()
        with pytest.raises(ProblemError) as error:
            client.classify(golden[3][0])

    assert error.value.problem.type == "/problems/key-missing"


def test_the_command_sends_its_key(keyed, tmp_path, monkeypatch, capsys, golden):
    stack, key = keyed
    command = runner(stack.url, tmp_path, monkeypatch, capsys)
    (tmp_path / "three.png").write_bytes(golden[3][0])
    refused = command("classify", "three.png", "--model", "digits")
    assert refused.status != 0
    assert "An API key is required" in refused.err + refused.out
    answered = command("classify", "three.png", "--model", "digits", "--format", "json", "--api-key", key)
    assert json.loads(answered.out)[0]["class"] == "3"
    monkeypatch.setenv("IMAGE_GATEWAY_API_KEY", key)

    assert command("models").status == 0
