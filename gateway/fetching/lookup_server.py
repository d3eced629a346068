"""A program that looks up names, each in a process that the kernel ends in time: `python -I -S lookup_server.py FD`.

`getaddrinfo` cannot be interrupted, and a thread in it cannot be ended: if a name server never answers, it returns
after the resolver's own limit, which is up to minutes. This program receives sockets over the socket FD and forks for
each. The child reads questions from it, one a line, and writes the answers, until the socket is closed or an answer
takes too long. The program imports little, so that a fork takes a millisecond, and shares nothing with its callers.
"""

import json
import os
import signal
import socket
import sys

MAX_ADDRESSES = 8
"""Names with more addresses exist, but no connection needs more, and each would be checked and tried."""


def answer(connection: socket.socket) -> None:
    """Read questions, `[host, port, seconds]`, and write `[[family, address], …]`, empty if the name is unknown."""
    for question in connection.makefile("rb"):
        host, port, seconds = json.loads(question)
        signal.setitimer(signal.ITIMER_REAL, seconds)  # its signal ends the process
        try:
            entries = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)
        except OSError:
            entries = []
        signal.setitimer(signal.ITIMER_REAL, 0)
        addresses = [[family, sockaddr] for family, _, _, _, sockaddr in entries[:MAX_ADDRESSES]]
        connection.sendall(json.dumps(addresses).encode() + b"\n")


def serve(control: socket.socket) -> None:
    """Answer the questions that arrive, until the process that asks them has ended."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children that have ended need not be waited for
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            return
        try:
            child = os.fork()
        except OSError:  # there can be no more processes; the caller sees that the socket is closed
            child = -1
        if child == 0:
            try:
                control.close()
                answer(socket.socket(fileno=descriptors[0]))
            finally:
                os._exit(0)
        os.close(descriptors[0])


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
