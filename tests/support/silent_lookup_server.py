"""The gateway's `lookup_server` with names of the tests.

Names that begin with `silent` are never answered, `many.test` has many addresses, `unknown.test` has none, and all
others have one.
"""

import runpy
import signal
import socket
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "gateway" / "fetching" / "lookup_server.py"
COUNTS = {b"many.test": 200, b"unknown.test": 0}


def getaddrinfo(host, port, **_):
    while host.startswith(b"silent"):
        signal.pause()
    if not COUNTS.get(host, 1):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))] * COUNTS.get(host, 1)


socket.getaddrinfo = getaddrinfo
runpy.run_path(str(PROGRAM), run_name="__main__")
