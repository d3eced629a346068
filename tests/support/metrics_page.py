"""Parsing of Prometheus' text format."""

from collections.abc import Iterator

import requests
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def samples(page: str) -> Iterator[Sample]:
    """Return every sample of a page."""
    for family in text_string_to_metric_families(page):
        yield from family.samples


def total(page: str, name: str, **labels: str) -> float:
    """Return the sum of the samples of a name that have these labels, among others."""
    return sum(
        sample.value for sample in samples(page) if sample.name == name and labels.items() <= sample.labels.items()
    )


def fetch(url: str) -> str:
    """Return the page at a URL."""
    response = requests.get(url, timeout=10)
    response.raise_for_status()
    return response.text
