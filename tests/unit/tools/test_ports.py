import os
import socket

import pytest

from tools import ports


@pytest.fixture
def used():
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_port():
    return ports.find(1)[0]


def test_free_ports_have_no_obstacles():
    one, two = free_port(), free_port()

    assert ports.find_obstacles({"PORT": one, "GRPC_PORT": two}) == {}


def test_all_used_ports_are_named(used):
    with socket.create_server(("127.0.0.1", 0)) as other:
        obstacles = ports.find_obstacles(
            {"PORT": used, "GATEWAY_PORT": free_port(), "GRPC_PORT": other.getsockname()[1]}
        )

    assert obstacles == dict.fromkeys(["PORT", "GRPC_PORT"], "is used by another program")


def test_the_same_port_twice_is_named_once():
    port = free_port()

    obstacles = ports.find_obstacles({"PORT": port, "GATEWAY_PORT": port})

    assert obstacles == {"GATEWAY_PORT": "is already used for PORT"}


def test_other_ports_are_free_and_different_from_each_other_and_from_those_in_use(used):
    before = {"PORT": used, "GRPC_PORT": used, "REST_PORT": used + 1, "GATEWAY_PORT": free_port()}

    others = ports.choose_others(before, ["PORT", "GRPC_PORT", "REST_PORT"])

    assert list(others) == ["PORT", "GRPC_PORT", "REST_PORT"]
    assert len({*others.values()} - {*before.values()}) == 3
    assert [ports.obstacle(port) for port in others.values()] == [None] * 3


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_a_listener_on_any_ipv4_address_is_detected(address):
    with socket.create_server((address, 0)) as server:
        assert ports.obstacle(server.getsockname()[1]) == "is used by another program"


def test_a_listener_on_ipv6_is_detected_since_localhost_may_mean_it():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")
    with server:
        assert ports.obstacle(server.getsockname()[1]) == "is used by another program"


def test_a_listener_that_shares_its_port_is_detected():
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert ports.obstacle(server.getsockname()[1]) == "is used by another program"


def test_a_port_whose_connections_have_just_ended_is_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()

    assert ports.obstacle(port) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen on every port")
def test_a_privileged_port_is_not_a_used_port():
    assert ports.obstacle(80) in {"needs root privileges", None}


def test_excluded_ports_are_not_proposed():
    port = free_port()
    assert ports.next_free(port, excluded=range(port, port + 10)) >= port + 10


def test_a_privileged_port_is_never_proposed():
    assert ports.next_free(80, excluded=()) >= ports.FIRST_UNPRIVILEGED_PORT


def test_found_ports_are_free_and_all_different():
    found = [*ports.find(3), *ports.find(2)]
    assert len(set(found)) == 5
    assert set(found) <= set(ports.SEARCH_RANGE)
    assert [ports.obstacle(port) for port in found] == [None] * 5
