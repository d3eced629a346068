"""Fetches in a network namespace that has a name server, public and private addresses on its loopback."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import inner_network

ROOT = Path(__file__).parents[4]
IN_NAMESPACE = ["unshare", "--net", "--mount"]


def can_make_namespaces() -> bool:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    attempt = subprocess.run([*IN_NAMESPACE, "ip", "link", "set", "lo", "up"], check=False, capture_output=True)
    return attempt.returncode == 0


pytestmark = pytest.mark.skipif(not can_make_namespaces(), reason="no permission to make a network namespace")


@pytest.fixture(scope="module")
def report() -> tuple[list[list[str]], dict[str, dict[str, int]]]:
    """Return the outcome of each URL, in order, and what reached the private servers and the name server."""
    command = [*IN_NAMESPACE, sys.executable, "-m", "tests.support.inner_network"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line for line in lines if isinstance(line, list)], lines[-1]


def outcomes(report, url):
    return [tuple(outcome) for fetched_url, *outcome in report[0] if fetched_url == url]


def test_nothing_ever_reaches_a_private_address(report):
    assert [url for url, *_ in report[0]] == inner_network.URLS
    assert report[1]["reached"] == []
    assert not any(text == "secret" for *_, text in report[0])


def test_a_public_host_is_fetched_from(report):
    assert outcomes(report, "http://photos.test/") == [("fetched", "public")]


@pytest.mark.parametrize("host", ["rebind.test", "rebind-to-loopback.test"])
def test_a_name_that_becomes_private_is_resolved_once_for_each_fetch_and_then_refused(report, host):
    first, second = outcomes(report, f"http://{host}/")
    assert first == ("fetched", "public")
    assert second[0] == "FetchRefusedError"
    assert report[1]["lookups"][host] == 2


def test_a_name_that_becomes_private_between_a_redirect_and_its_target_is_refused(report):
    ((kind, _),) = outcomes(report, "http://rebind-in-redirect.test/again")
    assert kind == "FetchRefusedError"
    assert report[1]["lookups"]["rebind-in-redirect.test"] == 2


@pytest.mark.parametrize("path", [path for path in inner_network.REDIRECTS if path != "/again"])
def test_redirects_to_private_destinations_are_refused(report, path):
    ((kind, _),) = outcomes(report, f"http://photos.test{path}")
    assert kind == "FetchRefusedError"


def test_a_silent_name_server_is_abandoned(report):
    ((kind, detail),) = outcomes(report, "http://silent.test/")
    assert (kind, detail) == (
        "DeadlineExceededError",
        "The name silent.test was not resolved in time. Try again, or send the image itself.",
    )


def test_every_other_url_is_refused_with_the_same_message(report):
    details = {
        detail.replace(url.split("/")[2].strip("[]"), "HOST")
        for url, kind, detail in report[0]
        if kind == "FetchRefusedError" and "photos.test" not in url and "rebind" not in url
    }
    assert {detail.split(" is not known")[1] for detail in details} == {
        " or has no public address, so nothing is fetched from it. Check the name, or send the image itself."
    }
    refused = [url for url, kind, _ in report[0] if kind == "FetchRefusedError"]
    assert len(refused) == len(inner_network.URLS) - 4  # three fetched, one never answered
