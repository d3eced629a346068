"""Measure the stack, a bare loop as its floor, and alternatives to it: `make bench`, or `python -m bench`.

Each round measures everything once, one after the other, so that other work on the machine affects all of it; ratios
are within a round. wrk and h2load generate the load, and every answer is checked. The results are written to the folder
`--run-dir`.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import images, measure, report, scenarios, targets
from bench.external_load import PACKAGES, find_program
from bench.targets import Outcome, Round
from bench.testbed import Testbed, start_testbed

SCENARIO_ROUNDS = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write results.json, results.md and plot.svg."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="duration of each measurement")
    parser.add_argument("--run-dir", type=Path, default=Path(".run/bench"))
    parser.add_argument("--weights", help="file with the weights of MobileNetV2; random ones without it")
    options = parser.parse_args(arguments)
    for name in PACKAGES:
        find_program(name)
    folder = options.run_dir.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    _print("Starting, which takes one or two minutes the first time ...")
    with start_testbed(folder, options.weights) as testbed:
        rounds = _measure_rounds(testbed, options.rounds, options.seconds)
        servers = scenarios.measure_servers(testbed, options.seconds)
        _print(f"share of the model servers' capacity: {servers}")
        swaps = [scenarios.measure_swap(testbed) for _ in range(min(SCENARIO_ROUNDS, options.rounds))]
        starts = [scenarios.measure_start(testbed) for _ in range(min(SCENARIO_ROUNDS, options.rounds))]
    outcomes = [*targets.evaluate_rounds(rounds), *targets.evaluate_scenarios(servers, swaps, starts)]
    results = {
        "machine": _machine(),
        "options": {"rounds": options.rounds, "seconds": options.seconds, "weights": options.weights},
        "rounds": [[sample.as_json() for sample in samples.values()] for samples in rounds],
        "servers": servers,
        "swaps": swaps,
        "starts": starts,
    }
    _write(folder, results, rounds, outcomes)
    _print(f"{time.monotonic() - started_s:.0f} s in total; results.md, results.json and plot.svg are in {folder}")


def _measure_rounds(testbed: Testbed, number: int, seconds: int) -> list[Round]:
    """Measure everything `number` times, after one round that does not count."""
    cells = measure.list_cells(testbed)
    loops = {targets.LOOP: images.photo(*measure.PHOTO), targets.LARGE_LOOP: images.photo(*measure.LARGE)}
    rounds: list[Round] = []
    for index in range(number + 1):
        samples = {
            name: measure.measure_bare_loop(name, image, testbed.folder, seconds=1) for name, image in loops.items()
        }
        for cell in cells:
            samples[cell.name] = measure.measure(cell, seconds)
            _print(f"round {index} of {number}: {cell.name:35} {samples[cell.name].cpu_ms():7.2f} CPU ms per image")
        if index:
            rounds.append(samples)
    return rounds


def _machine() -> Mapping[str, Any]:
    return {
        "processors": len(os.sched_getaffinity(0)),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
    }


def _write(folder: Path, results: Mapping[str, Any], rounds: Sequence[Round], outcomes: Sequence[Outcome]) -> None:
    (folder / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    (folder / "plot.svg").write_text(report.plot(rounds), encoding="utf-8")
    tables = f"{report.targets_table(outcomes)}\n\n{report.cells_table(rounds)}\n"
    (folder / "results.md").write_text(tables, encoding="utf-8")
    _print(f"\n{tables}\n{sum(outcome.met for outcome in outcomes)} of {len(outcomes)} targets are met.")


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # a command's output


if __name__ == "__main__":
    main()
