"""Check whether ports are free, and find free ones."""

import errno
import itertools
import secrets
import socket
from collections.abc import Collection, Iterable, Mapping

from tools import invocation

HIGHEST_PORT = 65535
FIRST_UNPRIVILEGED_PORT = 1024
# The wildcard address finds every IPv4 listener. `localhost` may mean ::1, where another program could answer.
PROBE_ADDRESSES = ((socket.AF_INET, ""), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
# Below the ports of outgoing connections, which could occupy one before a program listens on it.
SEARCH_RANGE = range(10_000, 30_000)
_used_ports: set[int] = set()


def find_obstacles(ports: Mapping[str, int]) -> Mapping[str, str]:
    """Return why ports cannot be used, by their variable; nothing for those that can.

    Args:
        ports: Port by the variable of `make run` that sets it.
    """
    obstacles = {}
    variables: dict[int, str] = {}
    for variable, port in ports.items():
        reason = f"is already used for {invocation.option(variables[port])}" if port in variables else obstacle(port)
        variables.setdefault(port, variable)
        if reason:
            obstacles[variable] = reason
    return obstacles


def choose_others(ports: Mapping[str, int], variables: Iterable[str]) -> Mapping[str, int]:
    """Return a free port for each of these variables, different from each other and from all ports."""
    others: dict[str, int] = {}
    for variable in variables:
        others[variable] = next_free(ports[variable], excluded=[*ports.values(), *others.values()])
    return others


def obstacle(port: int) -> str | None:
    """Return why no program can listen on a port, None if one can."""
    for family, address in PROBE_ADDRESSES:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                # As servers do: connections of a server that has just ended do not occupy its port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except PermissionError:
            return "needs root privileges"
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is used by another program"
            if family == socket.AF_INET:
                return f"cannot be used ({error.strerror})"
    return None


def next_free(port: int, *, excluded: Collection[int]) -> int:
    """Return the next higher port that is free, needs no privileges, and is not excluded.

    Raises:
        StopIteration: There is none.
    """
    candidates = range(max(port + 1, FIRST_UNPRIVILEGED_PORT), HIGHEST_PORT + 1)
    return next(candidate for candidate in candidates if candidate not in excluded and not obstacle(candidate))


def find(count: int) -> list[int]:
    """Return `count` free ports that this process has not received before."""
    candidates = (SEARCH_RANGE[secrets.randbelow(len(SEARCH_RANGE))] for _ in itertools.count())
    return list(itertools.islice(filter(_is_new, candidates), count))


def _is_new(port: int) -> bool:
    if port in _used_ports or obstacle(port):
        return False
    _used_ports.add(port)
    return True
