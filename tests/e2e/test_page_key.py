"""The page of a service that wants a key: it asks for one, keeps it for the tab, and sends it with every request."""

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
from tests.support.stack import ROOT, Stack, running


@pytest.fixture(scope="module")
def keyed(tmp_path_factory) -> Iterator[tuple[Stack, str]]:
    """The committed models behind a key, and the key."""
    file = tmp_path_factory.mktemp("keys") / "api-keys"
    key = add_key("visitor", file)
    with running(tmp_path_factory.mktemp("run"), environment={"GATEWAY_API_KEYS_FILE": str(file)}) as stack:
        yield stack, key


@pytest.fixture
def asked(browser: Browser, keyed) -> Iterator[Page]:
    """The page, which has just been opened."""
    context = browser.new_context()
    context.set_default_timeout(BROWSER_MS)
    page = context.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(keyed[0].url)
    yield page
    context.close()
    assert faults == []


def give(page, key):
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use key").click()


def top(page):
    return page.locator(".top .name")


def choose_seven(page, golden):
    page.get_by_label("Model", exact=True).select_option("digits")
    picture = {"name": "seven.png", "mimeType": "image/png", "buffer": golden[7][0]}
    page.get_by_label("Choose pictures").set_input_files(picture)
    expect(top(page)).to_have_text("7")


def test_the_page_asks_for_a_key_and_goes_on_with_it(asked, keyed, golden):
    expect(asked.get_by_label("API key")).to_be_focused()
    expect(asked.get_by_text("only those who have a key")).to_be_visible()
    give(asked, f" {keyed[1]} ")
    expect(asked.get_by_label("API key")).to_be_hidden()
    choose_seven(asked, golden)


def test_a_wrong_key_is_said_to_be_wrong(asked, keyed, golden):
    give(asked, "igk_visitor.wrong")
    expect(asked.get_by_text("The API key is not valid.")).to_be_visible()
    expect(asked.get_by_label("API key")).to_have_value("")
    give(asked, keyed[1])
    choose_seven(asked, golden)


def test_what_no_header_can_carry_is_no_key(asked):
    give(asked, "schlüssel")
    expect(asked.get_by_label("API key")).to_be_visible()
    assert not asked.get_by_label("API key").evaluate("input => input.checkValidity()")


def test_the_key_is_kept_for_the_tab_and_for_no_other(asked, keyed, golden):
    give(asked, keyed[1])
    expect(asked.get_by_label("API key")).to_be_hidden()
    asked.reload()
    choose_seven(asked, golden)
    other = asked.context.new_page()
    other.goto(keyed[0].url)
    expect(other.get_by_label("API key")).to_be_visible()
    assert asked.context.cookies() == []


def test_the_lines_to_copy_take_the_key_from_the_environment(asked, keyed, golden, tmp_path):
    give(asked, keyed[1])
    choose_seven(asked, golden)
    (tmp_path / "seven.png").write_bytes(golden[7][0])
    curl, python = asked.locator("#curl").inner_text(), asked.locator("#python").inner_text()
    assert keyed[1] not in curl + python
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "IMAGE_GATEWAY_API_KEY": keyed[1]}

    def printed(*command):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True, text=True)
        return done.stdout

    assert json.loads(printed("bash", "-c", curl))["class"] == "7"
    assert printed(sys.executable, "-c", python).split()[0] == "7"


def test_the_description_of_the_api_opens_and_takes_a_key(asked, keyed):
    asked.goto(f"{keyed[0].url}/docs")
    expect(asked.get_by_role("button", name=re.compile("^Authorize"))).to_be_visible()


# The client, against the same service


def test_the_client_sends_its_key(keyed, golden):
    stack, key = keyed
    with Client(stack.url, api_key=key) as client:
        assert client.classify(golden[3][0], model="digits").label == "3"
    with Client(stack.url) as client:
        assert client.ready()
        with pytest.raises(ProblemError) as refused:
            client.classify(golden[3][0])
    assert refused.value.problem.type == "/problems/key-missing"


def test_the_command_sends_its_key(keyed, tmp_path, monkeypatch, capsys, golden):
    stack, key = keyed
    command = runner(stack.url, tmp_path, monkeypatch, capsys)
    (tmp_path / "three.png").write_bytes(golden[3][0])
    refused = command("classify", "three.png", "--model", "digits")
    assert refused.status != 0
    assert "An API key is required" in refused.told + refused.out
    answered = command("classify", "three.png", "--model", "digits", "--format", "json", "--api-key", key)
    assert json.loads(answered.out)[0]["class"] == "3"
    monkeypatch.setenv("IMAGE_GATEWAY_API_KEY", key)
    assert command("models").status == 0
