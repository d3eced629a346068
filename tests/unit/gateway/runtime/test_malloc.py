import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
START = """
import resource
import threading
from pathlib import Path
import numpy as np
from gateway.runtime.malloc import bound_memory

def resident_kib():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])

def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

bound_memory()
before = resident_kib()
"""
LARGE = """
for mib in (8, 24):
    array = np.ones(mib << 20, np.uint8)
    del array
large = np.ones(24 << 20, np.uint8)
small = bytes(100_000)
del large
print(resident_kib() - before)
"""
MANY_THREADS = """
turn, all_running = threading.Lock(), threading.Barrier(32)

def work():
    all_running.wait(60)
    with turn:
        for _ in range(3):
            arrays = [np.ones(1 << 20, np.uint8) for _ in range(8)]
            del arrays
    all_running.wait(60)

threads = [threading.Thread(target=work) for _ in range(32)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident_kib() - before)
"""
AGAIN_AND_AGAIN = """
def receive():
    return np.ones(1 << 20, np.uint8), np.ones(2 << 20, np.uint8)

receive()
before = page_faults()
for _ in range(100):
    receive()
print(page_faults() - before)
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is measured through /proc")


def output(program: str) -> int:
    command = [sys.executable, "-c", START + program]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def test_large_blocks_are_returned_to_the_system():
    assert output(LARGE) < 8 * 1024


def test_freed_memory_is_not_retained_for_each_thread():
    used_in_turn_kib, arenas_kib, stacks_kib = 32 * 8 * 1024, 2 * 8 * 1024, 32 * 64
    assert output(MANY_THREADS) < arenas_kib + stacks_kib < used_in_turn_kib


def test_memory_that_was_just_freed_is_reused_without_page_faults():
    pages_of_one = 3 * 256
    assert output(AGAIN_AND_AGAIN) < pages_of_one
