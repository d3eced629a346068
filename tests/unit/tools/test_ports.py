import os
import socket

import pytest

from tools import ports


@pytest.fixture
def taken():
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_port():
    return ports.find(1)[0]


def test_free_ports_are_no_complaint():
    one, two = free_port(), free_port()
    ports.check({"PORT": one, "GRPC_PORT": two})


def test_a_taken_port_is_named_with_its_variable_and_one_to_take_instead(taken):
    with pytest.raises(ports.PortsError) as caught:
        ports.check({"PORT": free_port(), "REST_PORT": taken})

    before, _, instead = str(caught.value).partition(". Choose another port: make run REST_PORT=")
    assert before == f"REST_PORT={taken} is taken by another program"
    assert ports.obstacle(int(instead)) is None


def test_all_taken_ports_are_told_at_once(taken):
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(ports.PortsError) as caught:
        ports.check({"PORT": taken, "GRPC_PORT": other.getsockname()[1]})

    assert [line.split("=")[0] for line in str(caught.value).splitlines()] == ["PORT", "GRPC_PORT"]


def test_the_same_port_twice_is_told():
    port = free_port()
    with pytest.raises(ports.PortsError, match=f"GATEWAY_PORT={port} is PORT already"):
        ports.check({"PORT": port, "GATEWAY_PORT": port})


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_a_listener_on_any_ipv4_address_is_seen(address):
    with socket.create_server((address, 0)) as server:
        assert ports.obstacle(server.getsockname()[1]) == "is taken by another program"


def test_a_listener_on_ipv6_alone_is_seen_as_localhost_may_mean_it():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"no IPv6 loopback here: {error}")
    with server:
        assert ports.obstacle(server.getsockname()[1]) == "is taken by another program"


def test_a_listener_that_shares_its_port_is_seen():
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert ports.obstacle(server.getsockname()[1]) == "is taken by another program"


def test_a_port_whose_connections_have_just_ended_is_free():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            accepted, _ = server.accept()
            accepted.close()

    assert ports.obstacle(port) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may listen on every port")
def test_a_privileged_port_is_no_taken_port():
    assert ports.obstacle(80) in {"needs root's rights", None}


def test_the_port_proposed_is_not_one_that_was_asked_for():
    port = free_port()
    assert ports.usable_above(port, besides=range(port, port + 10)) >= port + 10


def test_a_privileged_port_is_never_proposed():
    assert ports.usable_above(80, besides=()) >= ports.FIRST_UNPRIVILEGED_PORT


def test_ports_found_can_be_listened_on_and_are_each_found_once():
    found = [*ports.find(3), *ports.find(2)]
    assert len(set(found)) == 5
    assert set(found) <= set(ports.FOUND)
    ports.check({f"PORT_{port}": port for port in found})
