"""Linters of OpenAPI documents have nothing to say about ours."""

import pytest

from tests.support import generators
from tests.support.generators import Workshop
from tests.support.stack import RunningStack

pytestmark = pytest.mark.timeout(300)

# No address of a person to contact is known: whoever runs the service answers for it.
RULES = 'extends: ["spectral:oas"]\nrules:\n  info-contact: off\n'


@pytest.fixture
def workshop(tmp_path) -> Workshop:
    generators.require_tools()
    return Workshop(tmp_path)


def test_spectral_finds_nothing(workshop: Workshop, stack: RunningStack):
    workshop.write("rules.yaml", RULES)
    output = workshop.shell(f"spectral lint --ruleset rules.yaml --fail-severity hint {stack.url}/api/v1/openapi.json")
    assert "No results" in output


def test_redocly_finds_nothing(workshop: Workshop, stack: RunningStack):
    output = workshop.shell(f"redocly lint --extends recommended --format json {stack.url}/api/v1/openapi.json")
    assert '"problems": []' in output
