"""Regular expressions of the gateway and of the stand-in's REST take linear time on texts of their own alphabet."""

import ast
import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.regex_attacks import find_slow_text

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "vision", "tfs_api", "model_server.rest")
METHODS = {"match", "fullmatch", "search", "finditer", "findall", "sub", "subn", "split"}
NOT_ON_THE_PATH = {"gateway.settings", "gateway.openapi.document", "gateway.openapi.schemas"}
"""Modules whose patterns see the operator's settings and our own source, when the gateway starts."""

Use = tuple[str, str]


def modules() -> Iterator[str]:
    for package in PACKAGES:
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            if "_generated" not in module.name:
                yield module.name


def source(module: str) -> ast.Module:
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def calls(tree: ast.Module) -> Iterator[tuple[ast.Call, str, str]]:
    """Yield every call of a method, with the name of its object and of the method."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            yield node, name, node.func.attr


def named_patterns() -> dict[str, re.Pattern]:
    """Return the patterns at the top level of modules, by the name of the module and their own."""
    patterns = {}
    for module in modules():
        tree = source(module)
        for node in tree.body:
            for target in node.targets if isinstance(node, ast.Assign) else ():
                if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "re.compile":
                    name = ast.unparse(target)
                    patterns[f"{module}.{name}"] = getattr(importlib.import_module(module), name)
    return patterns


def uses() -> dict[str, set[str]]:
    """Return the methods that are called on a name anywhere, by name."""
    methods: dict[str, set[str]] = defaultdict(set)
    for module in modules():
        for _, name, method in calls(source(module)):
            if method in METHODS:
                methods[name].add(method)
    return methods


PATTERNS = named_patterns()
USES = uses()
CASES = [
    (name, method)
    for name in PATTERNS
    if name.rpartition(".")[0] not in NOT_ON_THE_PATH
    for method in sorted(USES[name.rpartition(".")[2]])
    or ("match", "fullmatch")  # it is passed on and called elsewhere
]


def test_every_pattern_stands_at_the_top_of_a_module():
    """Others would escape this test."""
    elsewhere = [
        f"{module}:{call.lineno}"
        for module in modules()
        for call, name, _ in calls(source(module))
        if name == "re" and call.func.attr in {"compile", *METHODS}
    ]
    assert len(elsewhere) == len(PATTERNS), elsewhere
    assert len(PATTERNS) > 15


@pytest.mark.parametrize(("name", "method"), CASES, ids=[f"{name}.{method}" for name, method in CASES])
def test_a_pattern_takes_linear_time(name: str, method: str):
    slow = find_slow_text(PATTERNS[name], method)

    assert slow is None, f"{name}.{method} takes more than linear time on texts like {slow!r}"


SLOW = [
    (r"[0-9]*\.?[0-9]+(?:[eE]-?[0-9]{1,3})?", "fullmatch"),
    (r"(a+)+", "fullmatch"),
    (r"(?:ab|a|b)*;", "match"),
    (r"(.*?,){11}P", "match"),
    (r"\s+$", "search"),
    (r"[0-9]+x", "search"),
    (r'"(?:[^"\\]|\\.)*"', "finditer"),
    (r"data:[^,]*,[^,]*;base64,", "search"),
    (r"<[^>]*>", "sub"),
    (rb"--(-|--)*edge", "match"),
]


@pytest.mark.parametrize(("pattern", "method"), SLOW)
def test_a_slow_pattern_is_found(pattern: str | bytes, method: str):
    assert find_slow_text(re.compile(pattern), method) is not None


FAST = [
    (r"[0-9]{1,20}(?:\.[0-9]{1,100})?", "fullmatch"),
    (r"[^,]*;base64,", "match"),
    (r'"(?:[^"\\]++|\\.)*+"?', "finditer"),
    (rb"\r\n\r\n|\n\n|\r\r", "search"),
    (r"a|b", "split"),
]


@pytest.mark.parametrize(("pattern", "method"), FAST)
def test_a_fast_pattern_is_not_found(pattern: str | bytes, method: str):
    assert find_slow_text(re.compile(pattern), method) is None
