import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from gateway.fetching.resolver import MAX_IDLE, Resolver
from tests.support.processes import command_line, socket_inodes, suspend
from tests.support.resolver import use_silent_names
from tests.support.waiting import until
from tools.processes import children, descendants

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="processes are counted through /proc")


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    """Return a resolver whose names are those of `silent_lookup_server`."""
    use_silent_names(monkeypatch)
    with closing(Resolver()) as resolver:
        yield resolver


def processes() -> set[int]:
    """Return the processes of lookups: the program and its children."""
    return {pid for pid in descendants(os.getpid()) if is_lookup(pid)}


def programs() -> set[int]:
    """Return the program without its children, whose numbers may be lower."""
    return {pid for pid in children(os.getpid()) if is_lookup(pid)}


def is_lookup(pid: int) -> bool:
    return "lookup_server.py" in command_line(pid)


def resolve(resolver: Resolver, host: str = "any.test", *, timeout_s: float = 30) -> list[tuple[str, int]]:
    return [address.sockaddr for address in resolver.resolve(host, 80, timeout_s=timeout_s)]


def test_names_are_resolved_as_the_system_does():
    entries = socket.getaddrinfo("localhost", 8080, type=socket.SOCK_STREAM)

    with closing(Resolver()) as resolver:
        addresses = resolver.resolve("localhost", 8080, timeout_s=30)

    assert [(address.family, address.sockaddr) for address in addresses] == [
        (family, sockaddr) for family, _, _, _, sockaddr in entries
    ]


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".test", "\ud800"])
def test_an_impossible_name_is_an_error_without_a_lookup(resolver: Resolver, host: str):
    with pytest.raises(UnicodeError):
        resolve(resolver, host)

    assert processes() == set()


def test_an_unknown_name_has_no_addresses(resolver: Resolver):
    assert resolve(resolver, "unknown.test") == []
    assert resolve(resolver) == [("127.0.0.1", 80)]


def test_a_name_with_many_addresses_has_no_more_than_can_be_tried(resolver: Resolver):
    assert len(resolve(resolver, "many.test")) == 8


def test_lookups_share_a_few_processes(resolver: Resolver):
    for _ in range(50):
        assert resolve(resolver) == [("127.0.0.1", 80)]
    assert len(processes()) == 2  # the program, and one child

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda _: resolve(resolver), range(200)))
    until(lambda: len(processes()) <= 1 + MAX_IDLE)


def test_names_that_never_answer_keep_nobody_waiting_and_their_processes_end(resolver: Resolver):
    names = [f"silent{number}.test" for number in range(64)]
    with ThreadPoolExecutor(64) as threads:
        futures = [threads.submit(resolve, resolver, name, timeout_s=3) for name in names]
        until(lambda: len(processes()) > 32)

        assert resolve(resolver) == [("127.0.0.1", 80)]
        assert not all(future.done() for future in futures)

        for future in futures:
            assert isinstance(future.exception(), TimeoutError)
    until(lambda: len(processes()) <= 1 + MAX_IDLE)


def test_lookups_go_on_after_a_process_of_them_was_killed(resolver: Resolver):
    for _ in range(3):
        assert resolve(resolver) == [("127.0.0.1", 80)]
        for pid in processes():
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(processes()) == 0)


def test_a_lookup_whose_process_is_killed_is_an_error(resolver: Resolver):
    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(resolve, resolver, "silent.test")
        until(lambda: future.done() or kill_lookups())

        assert isinstance(future.exception(), ConnectionResetError)


def kill_lookups() -> None:
    for pid in processes() - programs():
        os.kill(pid, signal.SIGKILL)


def test_a_lookup_ends_in_time_although_the_program_stands_still(resolver: Resolver):
    resolve(resolver)
    (program,) = programs()
    kill_lookups()
    suspend(program)

    with pytest.raises(OSError, match="timed out"):
        resolve(resolver, timeout_s=0.1)

    os.kill(program, signal.SIGCONT)
    assert resolve(resolver) == [("127.0.0.1", 80)]


def test_the_processes_inherit_no_keys_and_no_sockets(monkeypatch: pytest.MonkeyPatch, resolver: Resolver):
    monkeypatch.setenv("GATEWAY_API_KEYS", "secret")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        resolve(resolver)

        # The program closes the socket of a lookup once it has made a process for it.
        until(lambda: all(sockets(pid) == 1 for pid in processes()))
        for pid in processes():
            assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()


def sockets(pid: int) -> int:
    """Return the number of open sockets of a process."""
    return len(list(socket_inodes(pid)))


def test_no_process_is_left_behind(monkeypatch: pytest.MonkeyPatch):
    use_silent_names(monkeypatch)
    closed, forgotten = Resolver(), Resolver()
    resolve(closed), resolve(forgotten)
    assert len(processes()) == 4

    closed.close()
    del forgotten

    until(lambda: len(processes()) == 0)


CRASH = """
import os, signal
from gateway.fetching.resolver import Resolver
from tools.processes import descendants

resolver = Resolver()
resolver.resolve("localhost", 80, timeout_s=30)
print(*descendants(os.getpid()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_program_ends_with_the_process_that_started_it():
    crash = subprocess.run([sys.executable, "-c", CRASH], check=False, capture_output=True, text=True, timeout=60)

    assert crash.returncode == -signal.SIGKILL
    started = [int(pid) for pid in crash.stdout.split()]
    assert len(started) == 2
    until(lambda: not any(map(is_lookup, started)))
