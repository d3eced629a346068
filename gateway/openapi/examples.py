"""Examples for the OpenAPI document: requests, and what the service really answered; `tools.examples` writes them."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.openapi.schemas import Schema

FILE = Path(__file__).with_name("examples.json")


@dataclass(frozen=True, slots=True)
class Example:
    """One request and its answer.

    Attributes:
        endpoint: Flask's name of what answered.
        name: Short, the only one of its name.
        summary: What it shows.
        request: The JSON body sent; None where something else, or nothing, was.
        status: HTTP status code of the answer.
        answer: The JSON answered.
    """

    endpoint: str
    name: str
    summary: str
    request: dict[str, Any] | None
    status: int
    answer: dict[str, Any]


def load() -> list[Example]:
    """Read the examples."""
    return [Example(**item) for item in json.loads(FILE.read_text(encoding="utf-8"))]


def components(examples: Iterable[Example]) -> dict[str, Schema]:
    """Write every example, by name; a request is named after its answer."""
    written = {}
    for example in examples:
        if example.request is not None:
            written[request_name(example)] = {"summary": example.summary, "value": example.request}
        written[example.name] = {"summary": example.summary, "value": example.answer}
    return written


def request_name(example: Example) -> str:
    """Name the request of an example."""
    return f"{example.name}-request"


def references(names: Iterable[str]) -> dict[str, Schema]:
    """Point to examples, by name."""
    return {name: {"$ref": f"#/components/examples/{name}"} for name in names}
