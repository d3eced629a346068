"""Every defence in SECURITY.md names tests that exist, and its links lead to files."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!what is defended|what is sent|---)(.+) \|$", DOCUMENT, re.MULTILINE)


def test_every_defence_names_a_test_that_exists():
    assert len(ROWS) >= 10
    for row in ROWS:
        tests = re.findall(r"`(tests/[^`]+\.py)`", row)
        assert tests, row
        assert all((ROOT / test).is_file() for test in tests), row


def test_every_link_leads_to_a_file_of_the_repository():
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", DOCUMENT)

    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []
