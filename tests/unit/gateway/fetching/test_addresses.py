import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, FetchError, FetchRefusedError, OverloadedError
from gateway.fetching.addresses import AddressGuard
from gateway.fetching.resolver import Resolver
from tests.support.fetching import address_guard
from tests.support.resolver import replace_resolver, use_silent_names


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Replace the resolver of the machine; the dictionary has the addresses of each name."""
    zone: dict[str, list[str]] = {}

    replace_resolver(monkeypatch, lambda host, port: [(address, port) for address in zone.get(host, ())])
    return zone


def resolve(guard: AddressGuard, host: str, port: int = 80, *, within_s: float = 5) -> list[tuple[str, int]]:
    return [address.sockaddr for address in guard.resolve(host, port, deadline=Deadline.after(within_s))]


def test_public_addresses_are_returned_in_the_order_of_the_resolver(names: dict[str, list[str]]):
    names["photos.test"] = ["2606:4700:4700::1111", "1.1.1.1"]
    guard = address_guard()
    assert resolve(guard, "photos.test", 443) == [("2606:4700:4700::1111", 443), ("1.1.1.1", 443)]
    families = [address.family for address in guard.resolve("photos.test", 443, deadline=Deadline.after(5))]
    assert families == [socket.AF_INET6, socket.AF_INET]


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["::1", "1.1.1.1"]])
def test_a_host_with_one_private_address_is_refused(names: dict[str, list[str]], addresses: list[str]):
    names["mixed.test"] = addresses
    with pytest.raises(FetchRefusedError, match=r"mixed\.test is not known or has no public address") as caught:
        resolve(address_guard(), "mixed.test")
    assert not any(address in caught.value.detail for address in addresses)


def test_a_host_is_allowed_on_every_port_or_on_one(names: dict[str, list[str]]):
    names.update({"Camera.Test": ["10.0.0.1"], "store.test": ["10.0.0.2"], "camera.test.evil.test": ["10.0.0.3"]})
    guard = address_guard(allowed_hosts=("camera.test", "Store.Test:9000"))
    assert resolve(guard, "Camera.Test", 80) == [("10.0.0.1", 80)]
    assert resolve(guard, "Camera.Test", 81) == [("10.0.0.1", 81)]
    assert resolve(guard, "store.test", 9000) == [("10.0.0.2", 9000)]
    for host, port in (("store.test", 80), ("store.test", 90001), ("camera.test.evil.test", 80)):
        with pytest.raises(FetchRefusedError):
            resolve(guard, host, port)


def test_an_unknown_host_gets_the_message_of_a_private_one(names: dict[str, list[str]]):
    names["inner.test"] = ["10.0.0.1"]
    for host, guard in (
        ("nowhere.test", address_guard()),
        ("nowhere.test", address_guard(allowed_hosts=("nowhere.test",))),
        ("inner.test", address_guard()),
    ):
        with pytest.raises(FetchRefusedError) as caught:
            resolve(guard, host)
        detail = f"The host {host} is not known or has no public address, so nothing is fetched from it. "
        assert caught.value.detail == f"{detail}Check the name, or send the image itself."


def test_the_log_says_why_a_host_is_refused(names: dict[str, list[str]]):
    names.update({"inner.test": ["10.0.0.1"], "outer.test": ["1.1.1.1"]})
    guard = address_guard(denied_hosts=("1.1.1.0/24",))
    with capture_logs() as logs:
        for host in ("nowhere.test", "inner.test", "outer.test"):
            with pytest.raises(FetchRefusedError):
                resolve(guard, host)
    assert [(entry["host"], entry["reason"]) for entry in logs] == [
        ("nowhere.test", "unknown"),
        ("inner.test", "not public"),
        ("outer.test", "denied"),
    ]


def test_a_private_address_is_refused_in_every_notation_without_a_name_server():
    guard = address_guard()
    for host in ("127.0.0.1", "0x7f.1", "017700000001", "::1", "::ffff:10.0.0.1", "fe80::1%1"):
        with pytest.raises(FetchRefusedError):
            guard.check_literal(host, 80)


def test_public_addresses_and_names_pass_without_a_name_server():
    guard = address_guard()
    for host in ("photos.test", "1.1.1.1", "0x1.1.1.1", "2606:4700:4700::1111", "a..b"):
        guard.check_literal(host, 80)


@pytest.fixture
def guard() -> Iterator[AddressGuard]:
    with closing(address_guard(allowed_hosts=("fast.test",))) as guard:
        yield guard


def test_a_silent_name_server_delays_neither_its_own_lookup_nor_others(
    monkeypatch: pytest.MonkeyPatch, guard: AddressGuard
):
    use_silent_names(monkeypatch)
    for _ in range(5):
        with pytest.raises(DeadlineExceededError, match=r"silent\.test was not resolved in time"):
            resolve(guard, "silent.test", within_s=0.2)

    assert resolve(guard, "fast.test") == [("127.0.0.1", 80)]


def test_a_lookup_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch):
    use_silent_names(monkeypatch)
    deadline = Deadline.after(60)

    with (
        closing(address_guard(lookup_s=0.2)) as guard,
        pytest.raises(DeadlineExceededError, match=r"silent\.test was not resolved in time"),
    ):
        guard.resolve("silent.test", 80, deadline=deadline)

    assert not deadline.has_passed


def test_a_lookup_that_cannot_be_made_is_an_error_of_the_fetch(monkeypatch: pytest.MonkeyPatch, guard: AddressGuard):
    for number, kind in ((errno.EMFILE, OverloadedError), (errno.ECONNRESET, FetchError)):
        monkeypatch.setattr(Resolver, "resolve", failing(OSError(number, os.strerror(number))))
        with pytest.raises(kind, match="resolve"):
            resolve(guard, "fast.test")


def failing(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail
