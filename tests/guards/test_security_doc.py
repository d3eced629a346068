"""SECURITY.md promises tests: they are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?!what is defended|---)(.+) \|$", DOCUMENT, re.MULTILINE)


def test_every_defence_names_a_test_that_exists():
    assert len(ROWS) >= 10
    for row in ROWS:
        named = re.findall(r"`(tests/[^`]+\.py)`", row)
        assert named, row
        assert all((ROOT / name).is_file() for name in named), row


def test_every_link_leads_to_a_file_of_ours():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", DOCUMENT):
        assert (ROOT / target).is_file(), target
