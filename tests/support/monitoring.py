"""The files of deploy/monitoring, and the metrics that their PromQL reads."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring"
RULES = FOLDER / "alerts.yml"
DASHBOARD = FOLDER / "grafana" / "dashboards" / "image-gateway.json"
# Values that Grafana substitutes if all models are selected.
VARIABLES = {"$model": ".*", "$__rate_interval": "1m"}

WORDS = frozenset({"and", "or", "unless", "bool", "avg", "count", "max", "min", "sum"})
# The parts of an expression other than metric names: strings, matchers, ranges and offsets, label lists, functions.
NOT_NAMES = re.compile(
    r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|offset\s+\w+|(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)|\w+\s*(?=\()'
)
NAME = re.compile(r"(?<![\w.:])[a-zA-Z_:][\w:]*")


def rules() -> list[dict[str, Any]]:
    """Return recording and alerting rules."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the dashboard's panels that have queries."""
    document = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Yield the place of every expression, and the expression with Grafana's variables substituted."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], substitute(target["expr"])
    for annotation in json.loads(DASHBOARD.read_text(encoding="utf-8"))["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def substitute(expression: str) -> str:
    """Substitute Grafana's variables."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def metric_names(expression: str) -> set[str]:
    """Return the names of the metrics that a PromQL expression reads."""
    return set(NAME.findall(NOT_NAMES.sub(" ", expression))) - WORDS
