"""The pages about problems: the command of each leads to the response that it shows, and they work in a browser."""

import json
import subprocess

import pytest
from playwright.sync_api import Page, expect

from gateway.openapi.problem_causes import CAUSES, SERVICE
from tests.support.axe import violations
from tests.support.stack import ROOT, RunningStack

COMMANDS = {slug: cause for slug, cause in CAUSES.items() if cause.request and not cause.condition}
TIMEOUT_S = 60
PHONE = {"viewport": {"width": 360, "height": 740}}


@pytest.mark.parametrize("slug", COMMANDS)
def test_the_command_leads_to_the_problem_and_the_response_shown(stack: RunningStack, slug: str):
    cause = COMMANDS[slug]
    command = cause.request.replace(SERVICE, stack.url)

    process = subprocess.run(
        ["bash", "-c", command.replace("curl ", "curl -sw '\\n' ")],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
        timeout=TIMEOUT_S,
    )

    problem = json.loads(process.stdout.strip().splitlines()[-1])
    assert (problem["type"], problem["detail"]) == (f"/problems/{slug}", cause.detail)
    assert problem.items() >= cause.members.items()


@pytest.mark.parametrize("page", [{}, PHONE | {"color_scheme": "dark"}], ids=["wide", "dark-phone"], indirect=True)
def test_a_newcomer_reads_why_it_happened_and_what_to_do(page: Page, stack: RunningStack):
    page.goto(f"{stack.url}/problems")
    page.get_by_role("link", name="Too many bytes").click()

    for heading in ("What it means", "Why it happens", "What to do", "Example"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    expect(page.get_by_role("group", name="Request")).to_contain_text("curl")
    expect(page.get_by_role("group", name="Response")).to_contain_text("/problems/body-too-large")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []
