"""What the service lives through: every fault of `bench.faults` done to it, an overload, and 50,000 requests.

    python -m bench.reliability [--requests 50000] [--only faults overload memory]

Prints the tables of docs/reliability.md. Takes some ten minutes, and wants a machine with nothing else to do.
"""

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import overload
from bench.asking import RIGHT, WRONG, Asking
from bench.faults import DRILLS, THREE_SERVERS, Drill, run
from bench.parts import HERE, Parts

WORKER_SETTINGS = {"GATEWAY_DRAIN_DELAY_S": "5", "GATEWAY_WORKERS": "2"}
MEMORY_USERS = 16
MEMORY_ROUND_S = 10


def main(arguments: Sequence[str]) -> None:
    """Measure what was asked for, and print each table when it is there."""
    parser = argparse.ArgumentParser(prog="python -m bench.reliability", description=(__doc__ or "").partition("\n")[0])
    sections = {"faults": faults, "overload": overloaded, "memory": memory}
    parser.add_argument("--only", nargs="+", choices=sections, default=list(sections), help="default: all")
    parser.add_argument("--requests", type=int, default=50_000, help="for the memory (%(default)s)")
    given = parser.parse_args(arguments)
    say(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    for name in given.only:
        say("", f"## {name.capitalize()}", "")
        for row in sections[name](given.requests):
            say(row)


def faults(_: int) -> Iterator[str]:
    """Do every drill."""
    yield "| fault | answered | wrong | refused or failed | slowest answer |"
    yield "|---|--:|--:|---|--:|"
    for drills, hosts in ((DRILLS, (HERE,)), (THREE_SERVERS, (HERE,) * 3)):
        with (
            tempfile.TemporaryDirectory(prefix="faults-") as folder,
            Parts(Path(folder), hosts=hosts, environment=WORKER_SETTINGS) as parts,
        ):
            parts.start()
            for drill in drills:
                yield fault_row(drill, run(drill, parts, seconds=drill.seconds))


def fault_row(drill: Drill, asking: Asking) -> str:
    """Write what users were told during one drill."""
    told = asking.told
    others = ", ".join(f"{count} of {kind}" for kind, count in sorted(told.items()) if kind not in {RIGHT, WRONG})
    slowest = f"{asking.slowest_s[RIGHT]:.1f} s"
    return f"| {drill.name} | {told[RIGHT]} | {told[WRONG]} | {others or 'none'} | {slowest} |"


def overloaded(_: int) -> Iterator[str]:
    """Ask four times as much as can be answered."""
    yield from overload.run(seconds=30, times=4, users=400)


def memory(requests: int) -> Iterator[str]:
    """Compare what the gateway's workers hold before and after many requests."""
    with (
        tempfile.TemporaryDirectory(prefix="memory-") as folder,
        Parts(Path(folder), environment=WORKER_SETTINGS) as parts,
    ):
        parts.start()
        picture = parts.base / "1" / "assets.extra" / "golden" / "00.png"
        crowd = overload.Crowd(parts.predict_url, picture)
        yield "| requests answered | resident memory of each worker |"
        yield "|--:|---|"
        answered = 0
        while True:
            load = crowd.ask(seconds=MEMORY_ROUND_S, users=MEMORY_USERS)
            answered += len(load.answers_s[overload.OK])
            yield f"| {answered} | {', '.join(f'{resident_mib(pid):.1f} MiB' for pid in parts.workers())} |"
            if answered >= requests:
                return


def resident_mib(pid: int) -> float:
    """Give the resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def say(*lines: str) -> None:
    """Print at once: the next line may take a minute."""
    print(*lines, sep="\n", flush=True)  # noqa: T201  # the result


if __name__ == "__main__":
    main(sys.argv[1:])
