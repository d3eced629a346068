"""Accessibility of a page by axe-core, which `make generators` installs."""

import pytest
from playwright.sync_api import Page

from tests.support.generators import NODE_MODULES

AXE = NODE_MODULES / "axe-core" / "axe.min.js"


def violations(page: Page) -> list[str]:
    """Return the rules of axe-core that a page breaks, with the elements; skip the test if it is not installed."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: make generators")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    results = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{violation['id']} ({violation['impact']}): {[node['html'] for node in violation['nodes']]}"
        for violation in results["violations"]
    ]
