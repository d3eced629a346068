"""docs/model_server.md tells all flags, and all recorded answers that the stand-in gives otherwise."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from model_server.options import WITHOUT_EFFECT, Options

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "model_server.md").read_text(encoding="utf-8")


def section(title):
    """Return the text below a heading, up to the next of its level."""
    return DOC.split(f"\n## {title}\n")[1].split("\n## ")[0]


def default(option):
    value = option.default
    if option.name in {"grpc_max_threads", "rest_api_num_threads"}:
        return "4 per CPU"
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("option", fields(Options), ids=lambda option: option.name)
def test_every_flag_is_told(option):
    assert f"| `--{option.name}` | {default(option)} | {option.metadata['help']} |".replace("|  |", "| |") in section(
        "Flags"
    )


def test_no_other_flag_is_told():
    told = set(re.findall(r"^\| `--(\w+)`", section("Flags"), re.MULTILINE))
    assert told == {option.name for option in fields(Options)}


def test_the_flags_without_effect_are_told():
    (line,) = re.findall(r"^Accepted with a warning.*?: (.*)\.$", section("Flags"), re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`--(\w+)`", line)) == WITHOUT_EFFECT


def listed_exceptions():
    source = (ROOT / "tests/integration/model_server/test_ground_truth.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and node.targets[0].id in {"DIFFERENT", "UNANSWERED"}:
            yield from (key.value for key in node.value.keys)


def test_every_recorded_answer_that_is_given_otherwise_is_told():
    told = re.findall(r"^\| `([^`]+)` \|", section("Recorded answers that differ"), re.MULTILINE)
    assert sorted(told) == sorted(listed_exceptions())
