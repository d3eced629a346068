"""The files of deploy/monitoring, and what their PromQL asks for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES = FOLDER / "alerts.yml"
DASHBOARD = FOLDER / "grafana" / "dashboards" / "image-gateway.json"
# What Grafana fills in, as it would be with all models chosen.
VARIABLES = {"$model": ".*", "$__rate_interval": "1m"}

WORDS = frozenset({"and", "or", "unless", "bool", "avg", "count", "max", "min", "sum"})
# Of an expression what is no metric's name: strings, matchers, ranges and offsets, lists of labels, functions.
NOT_NAMES = re.compile(
    r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|offset\s+\w+|(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\w+\s*(?=\()'
)
NAME = re.compile(r"(?<![\w.:])[a-zA-Z_:][\w:]*")


def rules() -> list[dict[str, Any]]:
    """List the rules, those that record and those that alert."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """List the dashboard's panels that ask for something."""
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """List every expression, Grafana's variables filled in, and where it stands."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], filled(target["expr"])
    for annotation in json.loads(DASHBOARD.read_text(encoding="utf-8"))["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def filled(expression: str) -> str:
    """Fill in Grafana's variables."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def metric_names(expression: str) -> set[str]:
    """Give the names of the metrics that a PromQL expression reads."""
    return set(NAME.findall(NOT_NAMES.sub(" ", expression))) - WORDS
