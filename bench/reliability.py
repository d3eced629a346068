"""Measure how the stack copes with each fault of `bench.faults`, an overload, 50,000 requests and hostile clients.

    python -m bench.reliability [--requests 50000] [--only faults overload memory hostile]

Prints the tables of docs/operating/reliability.md. It takes 20 to 25 minutes, 15 of them for the hostile clients, and
needs an otherwise idle machine.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bench import hostile, overload
from bench.classification_load import WRONG, ClassificationLoad
from bench.drill_stack import DrillStack
from bench.external_load import HttpUsers
from bench.faults import DRILLS, THREE_SERVERS, Drill, run
from bench.memory_group import MIB
from tools.load_generator import OK
from tools.local_stack import LOCALHOST
from tools.processes import resident_bytes

GATEWAY_SETTINGS = {"GATEWAY_DRAIN_DELAY_S": "5", "GATEWAY_WORKERS": "2"}
MEMORY_USERS = 16
MEMORY_ROUND_S = 10


def main(arguments: Sequence[str]) -> None:
    """Run the chosen measurements and print each row as soon as it is measured.

    Raises:
        SystemExit: A target of `hostile` was missed.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.reliability", description=(__doc__ or "").partition("\n")[0])
    sections: dict[str, Callable[[argparse.Namespace], Iterable[str]]] = {
        "faults": measure_faults,
        "overload": measure_overload,
        "memory": measure_memory,
        "hostile": measure_hostile,
    }
    parser.add_argument("--only", nargs="+", choices=sections, default=list(sections), help="default: all")
    parser.add_argument("--requests", type=int, default=50_000, help="requests for `memory` (%(default)s)")
    parser.add_argument("--seconds", type=float, default=900, help="duration of `hostile` (%(default)s)")
    parser.add_argument(
        "--attacks",
        type=Path,
        nargs="+",
        default=[hostile.CORPUS],
        metavar="FOLDER",
        help="files for `hostile` to send",
    )
    options = parser.parse_args(arguments)
    print_lines(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    for name in options.only:
        print_lines("", f"## {name.capitalize()}", "")
        try:
            for row in sections[name](options):
                print_lines(row)
        except hostile.TargetMissedError as error:
            raise SystemExit(f"Targets missed: {error}") from error


def measure_faults(_: argparse.Namespace) -> Iterator[str]:
    """Yield the table of all drills."""
    yield "| fault | answered | wrong | refused or failed | slowest response |"
    yield "|---|--:|--:|---|--:|"
    for drills, hosts in ((DRILLS, (LOCALHOST,)), (THREE_SERVERS, (LOCALHOST,) * 3)):
        with (
            tempfile.TemporaryDirectory(prefix="faults-") as folder,
            DrillStack(Path(folder), hosts=hosts, environment=GATEWAY_SETTINGS) as stack,
        ):
            stack.start()
            for drill in drills:
                yield fault_row(drill, run(drill, stack, seconds=drill.seconds))


def fault_row(drill: Drill, load: ClassificationLoad) -> str:
    """Return the row of one drill."""
    counts = load.counts
    others = ", ".join(f"{count} of {kind}" for kind, count in sorted(counts.items()) if kind not in {OK, WRONG})
    return f"| {drill.name} | {counts[OK]} | {counts[WRONG]} | {others or 'none'} | {load.slowest_s(OK):.1f} s |"


def measure_overload(_: argparse.Namespace) -> Iterator[str]:
    """Yield the table of an overload of four times the capacity."""
    yield from overload.run(seconds=30, times=4, users=400)


def measure_memory(options: argparse.Namespace) -> Iterator[str]:
    """Yield the table of the gateway workers' memory over a number of answers."""
    with (
        tempfile.TemporaryDirectory(prefix="memory-") as folder,
        DrillStack(Path(folder), environment=GATEWAY_SETTINGS) as stack,
    ):
        stack.start()
        users = HttpUsers(stack.predict_url, stack.golden / "00.png")
        yield "| requests answered | resident memory of each worker |"
        yield "|--:|---|"
        answers = 0
        while answers < options.requests:
            answers += users.run(seconds=MEMORY_ROUND_S, users=MEMORY_USERS).counts[OK]
            memory = ", ".join(f"{resident_bytes(pid) / MIB:.1f} MiB" for pid in stack.workers())
            yield f"| {answers} | {memory} |"


def measure_hostile(options: argparse.Namespace) -> Iterator[str]:
    """Yield the tables of attacks by hostile clients."""
    yield from hostile.run(options.seconds, options.attacks)


def print_lines(*lines: str) -> None:
    """Print at once, since the next line may take a minute."""
    print(*lines, sep="\n", flush=True)  # noqa: T201  # the result


if __name__ == "__main__":
    main(sys.argv[1:])
