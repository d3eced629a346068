"""Every package declares what it imports: those of the application in their extras, the client in its own project."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = {
    "gateway": ["gateway", "jobs", "redis", "tracing", "serverless"],
    "model_server": ["model-server", "tensorflow"],
    "tfs_api": ["tfs-api"],
    "train": ["train"],
    "vision": ["vision", "heif"],
}
"""The extras that declare the imports of each package."""
MIN_REQUIREMENTS = 20
OURS = {"gateway", "image_gateway_client", "model_server", "tfs_api", "train", "vision"}
# The protos of tensorflow.core are in tfs_api/_generated; tensorflow and tensorflow-cpu are the same package for
# different machines; several distributions share `google`.
DISTRIBUTIONS = {
    "google.protobuf": {"protobuf"},
    "tensorflow.core": {"tensorflow-serving-api"},
    "tensorflow": {"tensorflow", "tensorflow-cpu"},
}


def load(path: str) -> dict:
    return tomllib.loads((ROOT / path).read_text(encoding="utf-8"))


EXTRAS = load("pyproject.toml")["project"]["optional-dependencies"]
CLIENT = load("client/pyproject.toml")["project"]["dependencies"]


def requirements() -> Iterator[str]:
    """Yield the requirements of the client and of every extra."""
    yield from CLIENT
    for extra in EXTRAS.values():
        yield from extra


def normalize(name: str) -> str:
    """Return a distribution's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(extra: str) -> set[str]:
    """Return the distributions that an extra names, directly or through other extras."""
    names: set[str] = set()
    for requirement in EXTRAS[extra]:
        own = re.fullmatch(r"image-gateway\[(.+)\]", requirement)
        if own:
            names = names.union(*(declared(other) for other in own[1].split(",")))
        else:
            names.add(normalize(re.match(r"[\w.-]+", requirement)[0]))
    return names


def imported(folder: Path) -> set[str]:
    """Return the modules that a package imports from outside the standard library and this repository."""
    modules: set[str] = set()
    for file in folder.rglob("*.py"):
        if "_generated" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                modules.add(node.module)
    return {module for module in modules if module.partition(".")[0] not in {*sys.stdlib_module_names, *OURS}}


def undeclared(folder: Path, names: set[str]) -> set[str]:
    """Return the modules that a package imports, but whose distribution is not among the names."""
    installed = packages_distributions()
    assert imported(folder)
    return {module for module in imported(folder) if not names & _distributions(module, installed)}


def _distributions(module: str, installed: dict[str, list[str]]) -> set[str]:
    for prefix, distributions in DISTRIBUTIONS.items():
        if module == prefix or module.startswith(f"{prefix}."):
            return distributions
    return {normalize(name) for name in installed.get(module.partition(".")[0], [])}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_declares_what_it_imports(part: str):
    names = set().union(*(declared(extra) for extra in PARTS[part]))

    assert undeclared(ROOT / part, names) == set()


def test_the_client_declares_what_it_imports_and_nothing_else():
    names = {normalize(re.match(r"[\w.-]+", requirement)[0]) for requirement in CLIENT}

    assert undeclared(ROOT / "client/image_gateway_client", names) <= {"typing_extensions"}  # for type checkers only
    installed = packages_distributions()
    modules = imported(ROOT / "client/image_gateway_client")
    assert names == {name for module in modules for name in _distributions(module, installed)} - {"typing-extensions"}


def test_every_requirement_has_an_upper_bound():
    others = {requirement for requirement in requirements() if not requirement.startswith("image-gateway")}

    assert len(others) >= MIN_REQUIREMENTS
    assert {requirement for requirement in others if "<" not in requirement and "==" not in requirement} == set()


def test_the_build_backend_of_the_client_is_installed_for_the_tests():
    requires = load("client/pyproject.toml")["build-system"]["requires"]

    assert set(requires) <= set(load("pyproject.toml")["dependency-groups"]["test"])
