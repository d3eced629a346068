"""A name server of our own, on UDP, whose answers may change from one question to the next (RFC 1035)."""

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
    """Answers from a thread of its own, for as long as the process lives.

    Args:
        zone: The answers of each name in their order, the last one for ever: IPv4 addresses, separated by spaces.
            `SILENCE` is a name about which nothing is ever said.
        host: Address to listen on, port 53.

    Attributes:
        asked: How often for the IPv4 addresses of each name.
    """

    def __init__(self, zone: Mapping[str, Sequence[str]], *, host: str) -> None:
        self.asked: Counter[str] = Counter()
        self._zone = zone
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            question, client = self._socket.recvfrom(4096)
            answer = self._answer(question)
            if answer is not None:
                with contextlib.suppress(OSError):
                    self._socket.sendto(answer, client)

    def _answer(self, question: bytes) -> bytes | None:
        name, end = read_name(question, 12)
        (kind,) = struct.unpack_from(">H", question, end)
        answers = self._zone.get(name)
        if answers is SILENCE:
            return None
        addresses: list[str] = []
        if answers and kind == TYPE_A:
            addresses = answers[min(self.asked[name], len(answers) - 1)].split()
            self.asked[name] += 1
        code = 0 if answers else NO_SUCH_NAME
        head = question[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, len(addresses), 0, 0)
        record = struct.pack(">HHHIH", 0xC00C, TYPE_A, 1, 0, 4)  # the name of the question, no time to keep it
        return head + question[12 : end + 4] + b"".join(record + socket.inet_aton(address) for address in addresses)


def read_name(message: bytes, position: int) -> tuple[str, int]:
    """Read a name without pointers; give it and where it ends."""
    labels = []
    while length := message[position]:
        labels.append(message[position + 1 : position + 1 + length].decode("ascii").lower())
        position += 1 + length
    return ".".join(labels), position + 1
