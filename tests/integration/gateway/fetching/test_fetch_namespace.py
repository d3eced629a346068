"""The guard among name server, public and private addresses: a network namespace has all of them on its loopback."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import inner_network

ROOT = Path(__file__).parents[4]
APART = ["unshare", "--net", "--mount"]


def may_make_namespaces() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    tried = subprocess.run([*APART, "ip", "link", "set", "lo", "up"], check=False, capture_output=True)
    return tried.returncode == 0


pytestmark = pytest.mark.skipif(not may_make_namespaces(), reason="no rights to make a network namespace")


@pytest.fixture(scope="module")
def told() -> tuple[list[list[str]], dict[str, dict[str, int]]]:
    """What each URL gave, in their order; then what reached private servers and the name server."""
    command = [*APART, sys.executable, "-m", "tests.support.inner_network"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line for line in lines if isinstance(line, list)], lines[-1]


def outcomes(told, url):
    return [tuple(outcome) for asked, *outcome in told[0] if asked == url]


def test_nothing_ever_reaches_a_private_address(told):
    assert [url for url, *_ in told[0]] == inner_network.URLS
    assert told[1]["reached"] == []
    assert not any(text == "secret" for *_, text in told[0])


def test_a_public_host_is_fetched_from(told):
    assert outcomes(told, "http://photos.test/") == [("fetched", "public")]


@pytest.mark.parametrize("host", ["rebind.test", "rebind-to-loopback.test"])
def test_a_name_that_changes_its_address_is_looked_up_once_a_fetch_and_refused_the_second_time(told, host):
    first, second = outcomes(told, f"http://{host}/")
    assert first == ("fetched", "public")
    assert second[0] == "FetchRefusedError"
    assert told[1]["asked"][host] == 2


def test_a_name_that_changes_between_a_redirect_and_its_target_is_refused(told):
    ((kind, _),) = outcomes(told, "http://rebind-in-redirect.test/again")
    assert kind == "FetchRefusedError"
    assert told[1]["asked"]["rebind-in-redirect.test"] == 2


@pytest.mark.parametrize("path", [path for path in inner_network.REDIRECTS if path != "/again"])
def test_redirects_out_of_the_public_are_refused(told, path):
    ((kind, _),) = outcomes(told, f"http://photos.test{path}")
    assert kind == "FetchRefusedError"


def test_a_name_server_that_keeps_silent_is_given_up(told):
    ((kind, detail),) = outcomes(told, "http://silent.test/")
    assert (kind, detail) == ("DeadlineExceededError", "The name silent.test was not resolved in time.")


def test_every_other_url_is_refused_in_the_same_words(told):
    details = {
        detail.replace(url.split("/")[2].strip("[]"), "HOST")
        for url, kind, detail in told[0]
        if kind == "FetchRefusedError" and "photos.test" not in url and "rebind" not in url
    }
    assert {detail.split(" is not known")[1] for detail in details} == {
        " or has no public address, so nothing is fetched from it."
    }
    refused = [url for url, kind, _ in told[0] if kind == "FetchRefusedError"]
    assert len(refused) == len(inner_network.URLS) - 4  # three fetched, one never answered
