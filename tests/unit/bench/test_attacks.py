import socket

from bench.attacks import is_closed, make_attacks
from bench.overload import HealthProbes


def test_each_attack_has_a_name_of_its_own():
    names = [attack.name for attack in make_attacks("http://127.0.0.1:1", [])]

    assert len(set(names)) == len(names)


def test_a_connection_is_closed_once_the_other_side_has_closed_it():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert not is_closed(ours)
        theirs.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert not is_closed(ours)

        theirs.close()
        assert is_closed(ours)


def test_no_answer_of_livez_is_not_late():
    assert HealthProbes("http://127.0.0.1:1").slowest_s == 0
