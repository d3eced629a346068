"""A name server on UDP whose answers can change from one query to the next (RFC 1035)."""

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping, Sequence

TYPE_A = 1
NO_SUCH_NAME = 3
SILENCE: Sequence[str] = ()


class NameServer:
    """Answers queries in a daemon thread.

    Args:
        zone: The answers for each name in order, the last one for ever: IPv4 addresses, separated by spaces. Queries
            for a name with `SILENCE` are never answered.
        host: Address to listen on, port 53.

    Attributes:
        lookups: Number of queries for the IPv4 addresses of each name.
    """

    def __init__(self, zone: Mapping[str, Sequence[str]], *, host: str) -> None:
        self.lookups: Counter[str] = Counter()
        self._zone = zone
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(4096)
            answer = self._answer(query)
            if answer is not None:
                with contextlib.suppress(OSError):
                    self._socket.sendto(answer, client)

    def _answer(self, query: bytes) -> bytes | None:
        name, end = read_name(query, 12)
        (kind,) = struct.unpack_from(">H", query, end)
        answers = self._zone.get(name)
        if answers is SILENCE:
            return None
        addresses: list[str] = []
        if answers and kind == TYPE_A:
            addresses = answers[min(self.lookups[name], len(answers) - 1)].split()
            self.lookups[name] += 1
        code = 0 if answers else NO_SUCH_NAME
        head = query[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, len(addresses), 0, 0)
        record = struct.pack(">HHHIH", 0xC00C, TYPE_A, 1, 0, 4)  # the name of the query, with a lifetime of 0
        return head + query[12 : end + 4] + b"".join(record + socket.inet_aton(address) for address in addresses)


def read_name(message: bytes, position: int) -> tuple[str, int]:
    """Read a name without compression; return it and the position of its end."""
    labels = []
    while length := message[position]:
        labels.append(message[position + 1 : position + 1 + length].decode("ascii").lower())
        position += 1 + length
    return ".".join(labels), position + 1
