import subprocess
import sys
from collections.abc import Iterator

import pytest

from gateway.observability.process_metrics import ProcessCollector
from tests.support.waiting import SOON_S, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
CHILD = "import sys; print('up', flush=True); sys.stdin.read()"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=subprocess.PIPE)
for line in sys.stdin:
    child.stdin.close(); child.wait()
    print("ended", flush=True)
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """A process with a child that ends when the process reads a line."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PARENT], text=True, **pipes) as process:
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()


def read(process: subprocess.Popen[str]) -> dict[str, float]:
    families = ProcessCollector(process.pid).collect()
    return {family.samples[0].name: family.samples[0].value for family in families}


def test_all_processes_are_counted_and_those_that_have_ended_keep_their_time(parent: subprocess.Popen[str]):
    until(lambda: read(parent).get("gateway_cpu_seconds_total", 0) > 0, SOON_S)
    both = read(parent)
    parent.stdin.write("\n")
    parent.stdin.flush()
    assert parent.stdout.readline() == "ended\n"
    one = read(parent)

    assert (both["gateway_processes"], one["gateway_processes"]) == (2, 1)
    assert one["gateway_cpu_seconds_total"] >= both["gateway_cpu_seconds_total"]
    assert 0 < one["gateway_memory_bytes"] < both["gateway_memory_bytes"]


def test_a_process_that_has_ended_has_no_metrics(parent: subprocess.Popen[str]):
    parent.kill()
    parent.wait()

    assert read(parent) == {}
