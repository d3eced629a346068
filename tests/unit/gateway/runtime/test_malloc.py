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
    freed = np.ones(mib << 20, np.uint8)
    del freed
large = np.ones(24 << 20, np.uint8)
kept = bytes(100_000)
del large
print(resident_kib() - before)
"""
MANY_THREADS = """
turn, all_begun = threading.Lock(), threading.Barrier(32)

def work():
    all_begun.wait(60)
    with turn:
        for _ in range(3):
            freed = [np.ones(1 << 20, np.uint8) for _ in range(8)]
            del freed
    all_begun.wait(60)

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

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is counted through /proc")


def told(program: str) -> int:
    command = [sys.executable, "-c", START + program]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def test_large_blocks_go_back_to_the_system():
    assert told(LARGE) < 8 * 1024


def test_what_many_threads_have_freed_is_not_kept_for_each():
    used_in_turn_kib, arenas_kib = 32 * 8 * 1024, 2 * 8 * 1024
    assert told(MANY_THREADS) < arenas_kib < used_in_turn_kib


def test_memory_that_was_just_freed_is_used_again_without_asking_the_system():
    pages_of_one = 3 * 256
    assert told(AGAIN_AND_AGAIN) < pages_of_one
