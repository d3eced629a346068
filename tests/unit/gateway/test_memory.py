import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from pathlib import Path
import numpy as np
from gateway.memory import return_large_blocks

def resident_kib():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])

return_large_blocks()
before = resident_kib()
for mib in (8, 24):
    freed = np.ones(mib << 20, np.uint8)
    del freed
large = np.ones(24 << 20, np.uint8)
kept = bytes(100_000)
del large
print(resident_kib() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted through /proc")
def test_large_blocks_go_back_to_the_system():
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 8 * 1024
