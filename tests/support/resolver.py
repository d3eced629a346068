"""Lookups of names as a test wants them."""

import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gateway.fetching import resolver
from gateway.fetching.lookups import Address
from gateway.fetching.resolver import Resolver

Answer = Callable[[str, int], Sequence[tuple[str, int]]]
"""Returns the addresses and ports of a host and port; none if the host is unknown."""


def replace_resolver(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> list[str]:
    """Resolve names by a function of the test; return the list to which the hosts that are looked up are added."""
    lookups: list[str] = []

    def resolve(_: Resolver, host: str, port: int, *, timeout_s: float) -> list[Address]:
        assert timeout_s > 0
        lookups.append(host)
        return [
            Address(socket.AF_INET6 if ":" in address else socket.AF_INET, (address, number))
            for address, number in answer(host, port)
        ]

    monkeypatch.setattr(Resolver, "resolve", resolve)
    return lookups


def use_silent_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the real lookup program with the names of `silent_lookup_server.py`."""
    monkeypatch.setattr(resolver, "PROGRAM", Path(__file__).with_name("silent_lookup_server.py"))
