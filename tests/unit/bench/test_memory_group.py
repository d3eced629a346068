import subprocess
import sys

import pytest

from bench.memory_group import MIB, limit_memory

LIMIT_BYTES = 64 * MIB
TAKE = "import sys; data = b'x' * int(sys.argv[1])"


def take(group, size):
    command = [*group.command_prefix, sys.executable, "-c", TAKE, str(size)]
    return subprocess.run(command, check=False, capture_output=True).returncode


def test_a_program_that_takes_more_memory_than_the_limit_is_killed_and_counted():
    with limit_memory(LIMIT_BYTES) as group:
        if group.peak_file is None:
            pytest.skip("control groups cannot be made here")
        assert take(group, LIMIT_BYTES // 4) == 0
        assert (group.kills(), LIMIT_BYTES // 4 < group.peak_bytes() < LIMIT_BYTES) == (0, True)

        assert take(group, 4 * LIMIT_BYTES) == -9
        assert group.kills() == 1
