"""CPU time and memory of a process and its descendants."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support.processes import suspend
from tools import processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")

PARENT_WITH_CHILD = """
import os, signal, time
def work():
    started = time.process_time()
    while time.process_time() - started < 0.2:
        pass
done = os.fork()
if done == 0:
    work()
    os._exit(0)
os.waitpid(done, 0)
running = os.fork()
if running == 0:
    signal.pause()
print(running, flush=True)
signal.pause()
"""


@pytest.fixture
def parent():
    """A process with one child that has worked for 0.2 s and exited, and one that runs."""
    command = [sys.executable, "-c", PARENT_WITH_CHILD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        child = int(process.stdout.readline())
        yield process.pid, child
        os.killpg(process.pid, signal.SIGKILL)


def test_the_family_is_a_process_and_its_descendants(parent):
    pid, child = parent

    assert list(processes.family(pid)) == [pid, child]


def test_the_cpu_time_includes_children_that_have_exited(parent):
    pid, child = parent

    assert processes.cpu_s(pid) >= 0.15  # counted in ticks of 10 ms
    assert processes.cpu_s(child) < 0.15


def test_every_thread_of_a_suspended_process_is_stopped():
    program = "import signal, threading\nfor _ in range(8): threading.Thread(target=signal.pause).start()\nprint()"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        try:
            assert "T" not in processes.thread_states(process.pid)

            suspend(process.pid)

            assert processes.thread_states(process.pid) == {"T"}
        finally:
            process.kill()
    with pytest.raises(FileNotFoundError):
        processes.thread_states(process.pid)


def test_memory_of_the_family_counts_shared_pages_once(parent):
    pid, child = parent

    resident = processes.resident_bytes(pid) + processes.resident_bytes(child)
    assert 0 < processes.proportional_bytes(pid) < resident


def test_anonymous_memory_is_a_part_of_the_resident(parent):
    pid, _ = parent

    assert 0 < processes.anonymous_bytes(pid) < processes.resident_bytes(pid)


def test_a_status_without_the_field_is_an_error(parent):
    pid, _ = parent

    assert processes.status_field(pid, "Threads") == 1
    with pytest.raises(ValueError, match="unpack"):
        processes.status_field(pid, "Nothing")


def test_a_process_that_has_exited_uses_nothing():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()

    assert list(processes.family(process.pid)) == [process.pid]
    assert processes.cpu_s(process.pid) == 0


READER = """
import mmap, sys
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages:
    sum(pages[::4096])
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_the_memory_of_a_group_counts_shared_pages_once_and_in_full(tmp_path):
    size = 64_000_000
    file = tmp_path / "file"
    file.write_bytes(bytes(size))
    command = [sys.executable, "-c", READER, file]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as second,
    ):
        for process in (first, second):
            assert process.stdout.readline() == b"ready\n"

        alone, together = processes.group_bytes([first.pid]), processes.group_bytes([first.pid, second.pid])

        for process in (first, second):
            process.stdin.close()
    assert size < alone < 2 * size
    assert alone <= together < 2 * size
