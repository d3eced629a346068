"""Whether ports can be listened on, and which one to take instead."""

import errno
import itertools
import secrets
import socket
from collections.abc import Collection, Mapping

HIGHEST_PORT = 65535
FIRST_UNPRIVILEGED_PORT = 1024
# All of IPv4 finds every IPv4 listener. `localhost` may mean ::1, where somebody else could answer in our place.
PROBED = ((socket.AF_INET, ""), (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


# Below those that the system gives to outgoing connections, which could take one before its program listens on it.
FOUND = range(10_000, 30_000)
_given: set[int] = set()


class PortsError(Exception):
    """A port cannot be used; the message names it, its variable and a port that can."""


def check(ports: Mapping[str, int]) -> None:
    """See that each port can be listened on, and that no two are the same.

    Args:
        ports: Port by the variable of `make run` that sets it.

    Raises:
        PortsError: with one line for each port that cannot be used.
    """
    complaints = []
    seen: dict[int, str] = {}
    for variable, port in ports.items():
        reason = f"is {seen[port]} already" if port in seen else obstacle(port)
        seen.setdefault(port, variable)
        if reason:
            instead = usable_above(port, besides=ports.values())
            complaints.append(f"{variable}={port} {reason}. Choose another port: make run {variable}={instead}")
    if complaints:
        raise PortsError("\n".join(complaints))


def obstacle(port: int) -> str | None:
    """Return why no program of ours could listen on a port of this machine, or None."""
    for family, address in PROBED:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                # As servers do: connections of a server that has just ended are no obstacle.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except PermissionError:
            return "needs root's rights"
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is taken by another program"
            if family == socket.AF_INET:
                return f"cannot be listened on ({error.strerror})"
    return None


def usable_above(port: int, *, besides: Collection[int]) -> int:
    """Return the next port that can be listened on without special rights and is not among `besides`.

    Raises:
        StopIteration: there is none.
    """
    candidates = range(max(port + 1, FIRST_UNPRIVILEGED_PORT), HIGHEST_PORT + 1)
    return next(candidate for candidate in candidates if candidate not in besides and not obstacle(candidate))


def find(count: int) -> list[int]:
    """Find ports that can be listened on and that this process has not been given before."""
    drawn = (FOUND[secrets.randbelow(len(FOUND))] for _ in itertools.count())
    return list(itertools.islice(filter(_is_new, drawn), count))


def _is_new(port: int) -> bool:
    if port in _given or obstacle(port):
        return False
    _given.add(port)
    return True
