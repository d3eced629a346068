"""Examples in the OpenAPI document: requests and recorded responses, written by `tools.examples`."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from gateway.openapi.schemas import Schema

FILE = Path(__file__).with_name("examples.json")


@dataclass(frozen=True, slots=True)
class Example:
    """One request and its response.

    Attributes:
        endpoint: Flask endpoint that handled the request.
        name: Short, unique name.
        summary: What it shows.
        request: JSON body of the request; None if it had another body or none.
        status: HTTP status code of the response.
        response: JSON body of the response.
    """

    endpoint: str
    name: str
    summary: str
    request: dict[str, Any] | None
    status: int
    response: dict[str, Any]


def load() -> list[Example]:
    """Read the examples."""
    return [Example(**item) for item in json.loads(FILE.read_text(encoding="utf-8"))]


def components(examples: Iterable[Example]) -> dict[str, Schema]:
    """Return every example as an OpenAPI component, by name; requests are named after their responses."""
    values = {}
    for example in examples:
        if is_shown(example):
            values[request_name(example)] = {"summary": example.summary, "value": example.request}
        values[example.name] = {"summary": example.summary, "value": example.response}
    return values


def is_shown(example: Example) -> bool:
    """Return whether the request is an example too: what is meant to fail is no example of what to send."""
    return example.request is not None and example.status < HTTPStatus.BAD_REQUEST


def request_name(example: Example) -> str:
    """Return the name of the request of an example."""
    return f"{example.name}-request"


def references(names: Iterable[str]) -> dict[str, Schema]:
    """Return references to examples, by name."""
    return {name: {"$ref": f"#/components/examples/{name}"} for name in names}
