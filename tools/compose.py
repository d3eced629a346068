"""Read Compose files as Compose does, limited to what they use: merge keys, tags and variables."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
BASE = ROOT / "docker-compose.yml"
# https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md; the forms used here.
_VARIABLE = re.compile(r"\$(?:(?P<escaped>\$)|\{(?P<name>\w+)(?::-(?P<default>[^{}]*)|:\+(?P<instead>[^{}]*))?\})")


class _Loader(yaml.SafeLoader):
    """YAML with the tags of Compose."""


def _reset(loader: _Loader, node: yaml.SequenceNode) -> list[Any]:
    """Read `!reset []`, which removes what an earlier file has set; in this file it is an empty list."""
    return loader.construct_sequence(node)


_Loader.add_constructor("!reset", _reset)


def files() -> list[Path]:
    """Return the Compose files, the base first."""
    return [BASE, *sorted(ROOT.glob("docker-compose.*.yml"))]


def load(file: Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read one Compose file.

    Args:
        file: The file.
        variables: Values from `.env` or the environment; defaults apply without them.

    Raises:
        KeyError: A variable has neither a value nor a default.
    """
    text = file.read_text(encoding="utf-8")
    return dict(_interpolate(yaml.load(text, _Loader), variables or {}))  # noqa: S506  # made from SafeLoader


def environment(service: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of a service: its required `env_file` entries, overridden by `environment`."""
    values: dict[str, str] = {}
    for name in service.get("env_file", []):
        if isinstance(name, str):
            lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
            values |= dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return values | {name: str(value) for name, value in service.get("environment", {}).items()}


def _interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _interpolate(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolate(item, variables) for item in value]
    return _VARIABLE.sub(lambda match: _replacement(match, variables), value) if isinstance(value, str) else value


def _replacement(match: re.Match[str], variables: Mapping[str, str]) -> str:
    if match["escaped"]:
        return "$"
    value = variables.get(match["name"], "")
    if match["instead"] is not None:
        return match["instead"] if value else ""
    if not value and match["default"] is None:
        raise KeyError(match["name"])
    return value or match["default"]
