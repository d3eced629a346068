"""The gateway's `lookup_server`, with a resolver that never returns for names that begin with `silent`."""

import runpy
import signal
import socket
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "gateway" / "fetching" / "lookup_server.py"
ANSWERS = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]


def getaddrinfo(host, port, **_):
    while host.startswith(b"silent"):
        signal.pause()
    return [(family, kind, protocol, name, (address, port)) for family, kind, protocol, name, (address, _) in ANSWERS]


socket.getaddrinfo = getaddrinfo
runpy.run_path(str(PROGRAM), run_name="__main__")
