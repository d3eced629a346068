"""docs/reference/model_server.md documents all flags, and all recorded answers that differ."""

import ast
import re
from dataclasses import fields
from pathlib import Path

from model_server.options import WITHOUT_EFFECT, Options

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "reference" / "model_server.md").read_text(encoding="utf-8")


def section(title):
    """Return the text below a heading, up to the next of its level."""
    return DOC.split(f"\n## {title}\n")[1].split("\n## ")[0]


def default(option):
    """Return the default of an option as the documentation writes it."""
    value = option.default
    if option.name in {"grpc_max_threads", "rest_api_num_threads"}:
        return "4 per CPU"
    if option.name == "num_tflite_pools":
        return "1 per CPU"
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_every_flag_is_documented():
    rows = {
        option.name: f"| `--{option.name}` | {default(option)} | {option.metadata['help']} |".replace("|  |", "| |")
        for option in fields(Options)
    }

    missing = {name: row for name, row in rows.items() if row not in section("Flags")}

    assert len(rows) >= 30
    assert not missing, "docs/reference/model_server.md, Flags, lacks these rows:\n" + "\n".join(missing.values())


def test_no_other_flag_is_documented():
    documented = set(re.findall(r"^\| `--(\w+)`", section("Flags"), re.MULTILINE))

    assert documented == {option.name for option in fields(Options)}


def test_the_flags_without_effect_are_documented():
    (line,) = re.findall(r"^Accepted with a warning.*?: (.*)\.$", section("Flags"), re.MULTILINE | re.DOTALL)

    assert set(re.findall(r"`--(\w+)`", line)) == WITHOUT_EFFECT


def listed_exceptions():
    """Yield the names of the recorded answers that the test of all recorded answers treats as exceptions."""
    source = (ROOT / "tests/integration/model_server/test_ground_truth.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and node.targets[0].id in {"DIFFERENT", "UNANSWERED"}:
            yield from (key.value for key in node.value.keys)


def test_every_answer_that_differs_is_documented():
    documented = re.findall(r"^\| `([^`]+)` \|", section("Recorded answers that differ"), re.MULTILINE)

    assert len(documented) >= 5
    assert sorted(documented) == sorted(listed_exceptions())
