"""The addresses on which a process and its descendants listen, from /proc; see proc_net(5)."""

import socket
from pathlib import Path

from tests.support.processes import socket_inodes
from tools import processes

LISTENING = "0A"


def listeners(pid):
    """Return the address and the port of each TCP socket that the process or a descendant listens on."""
    inodes = {inode for member in processes.family(pid) for inode in socket_inodes(member)}
    return {address for table in ("tcp", "tcp6") for address in listening(table, inodes)}


def listening(table, inodes):
    for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
        _, local, _, state, *_ = fields = line.split()
        if state == LISTENING and fields[9] in inodes:
            address, port = local.split(":")
            yield to_text(bytes.fromhex(address)), int(port, 16)


def to_text(address):
    """Format an address, of which the kernel prints each group of four bytes as a number in its own byte order."""
    groups = [address[start : start + 4][::-1] for start in range(0, len(address), 4)]
    text = socket.inet_ntop(socket.AF_INET if len(groups) == 1 else socket.AF_INET6, b"".join(groups))
    return text.removeprefix("::ffff:")  # an IPv4 address on a socket for both
