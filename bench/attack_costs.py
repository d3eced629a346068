"""Send each attack alone and print what it costs: `python -m bench.attack_costs [--attacks FOLDER...] [--only TEXT]`.

For each attack the table has its answer and how long that took, the processor time of the gateway until it rests again,
how much its memory grew at the peak, and how many requests of two honest users failed meanwhile.
"""

import argparse
import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.attacks import Attack, make_attacks
from bench.hostile import HonestUsers, HostileStack, start_stack
from bench.memory_group import MIB
from bench.reliability import print_lines
from tools import processes
from tools.load_generator import OK

UNLIMITED_BYTES = 16 << 30
HONEST_USERS = 2
_REST_S, _MAX_REST_S = 1.0, 60.0
_RESTING_CPU_S = 0.2
_CLEAR_PEAK = "5"
"""Written to /proc/PID/clear_refs, resets VmHWM; see proc_pid_clear_refs(5)."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each attack."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.attack_costs", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--attacks", type=Path, nargs="+", default=[], metavar="FOLDER", help="further files")
    parser.add_argument("--only", default="", metavar="TEXT", help="only attacks whose name contains it")
    parser.add_argument("--memory", type=int, default=UNLIMITED_BYTES, metavar="BYTES", help="limit on the gateway")
    options = parser.parse_args(arguments)
    print_lines("| attack | answer | s | CPU s | peak, MiB | honest requests failed |")
    print_lines("|---|---|--:|--:|--:|--:|")
    with start_stack(options.memory) as (stack, _):
        for attack in make_attacks(stack.pictures, options.attacks):
            if options.only in attack.name:
                print_lines(measure(stack, attack))


def measure(stack: HostileStack, attack: Attack) -> str:
    """Send an attack, wait until the gateway rests, and return the row."""
    gateway = stack.pid("gateway")
    wait_for_rest(gateway)
    before = dict(_reset_peaks(gateway))
    cpu_before_s, started_s = processes.cpu_s(gateway), time.monotonic()
    with HonestUsers(stack, HONEST_USERS) as users:
        answer = attack.send(stack.address("127.0.1.1"))
        answer_s = time.monotonic() - started_s
    wait_for_rest(gateway)
    cpu_s = processes.cpu_s(gateway) - cpu_before_s
    growth_bytes = sum(max(peak - before.get(pid, 0), 0) for pid, peak in _peaks(gateway))
    failed = users.counts.total() - users.counts[OK]
    figures = f"{answer_s:.1f} | {cpu_s:.1f} | {growth_bytes / MIB:.0f} | {failed} of {users.counts.total()}"
    return f"| {attack.name} | {answer} | {figures} |"


def wait_for_rest(pid: int) -> None:
    """Wait until a program and its children have used next to no processor time for a second."""
    deadline_s = time.monotonic() + _MAX_REST_S
    cpu_s = processes.cpu_s(pid)
    while time.monotonic() < deadline_s:
        time.sleep(_REST_S)
        previous_s, cpu_s = cpu_s, processes.cpu_s(pid)
        if cpu_s - previous_s < _RESTING_CPU_S:
            return


def _reset_peaks(pid: int) -> Iterator[tuple[int, int]]:
    """Reset the peak of each process's memory, and yield what it uses."""
    for member in processes.family(pid):
        with contextlib.suppress(OSError):
            Path(f"/proc/{member}/clear_refs").write_text(_CLEAR_PEAK, encoding="ascii")
            yield member, processes.resident_bytes(member)


def _peaks(pid: int) -> Iterator[tuple[int, int]]:
    """Yield the most memory that each process has used since `_reset_peaks`, or since its start."""
    for member in processes.family(pid):
        with contextlib.suppress(OSError, ValueError):
            yield member, processes.status_field(member, "VmHWM") * 1024


if __name__ == "__main__":
    main()
