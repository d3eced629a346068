"""Measure the stack, a bare loop as its floor, and alternatives to it: `make bench`, or `python -m bench`.

Each round measures everything once, one after the other, so that other work on the machine affects all of it; ratios
are within a round. wrk and h2load generate the load, and every answer is checked. The results are written to the folder
`--run-dir`.
"""

# ruff: noqa: T201  # a command's output

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from bench import images, report, scenarios, targets
from bench.external_load import PACKAGES, find_program
from bench.measure import Measurement, measure, measure_bare_loop, measure_rounds
from bench.stack_load import LARGE, PHOTO
from bench.targets import Outcome
from bench.testbed import Testbed, start_testbed

SCENARIO_ROUNDS = 3
QUICK_ROUNDS, QUICK_S = 2, 1
MODULES = ("fastapi", "nncf", "onnxruntime", "openvino", "tensorflow", "tf2onnx", "uvicorn")
"""What the alternatives need, and `make run` does not install."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write results.json, results.md and plot.svg."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="duration of each measurement")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_ROUNDS} rounds of {QUICK_S} s, without the swap, the start, and several model servers",
    )
    parser.add_argument("--run-dir", type=Path, default=Path(".run/bench"))
    parser.add_argument("--weights", help="file with the weights of MobileNetV2; random ones without it")
    parser.add_argument("--document", type=Path, help="file to write the tables to, such as docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds = QUICK_ROUNDS, QUICK_S
    _require_programs()
    folder = options.run_dir.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    print("Starting; the first time, the models are made, which takes a few minutes ...", flush=True)
    with start_testbed(folder, options.weights) as testbed:
        rounds = measure_rounds(_list_measurements(testbed), options.rounds, options.seconds)
        outcomes = targets.evaluate(targets.TARGETS, rounds)
        if not options.quick:
            outcomes += _measure_scenarios(testbed, min(SCENARIO_ROUNDS, options.rounds), options.seconds)
    command = f"python -m bench --rounds {options.rounds} --seconds {options.seconds}"
    tables = [
        report.conditions(command),
        report.systems_table(rounds),
        report.targets_table(outcomes),
        report.cells_table(rounds),
    ]
    report.write(folder, "bench", tables, rounds, options.document)
    print(f"{time.monotonic() - started_s:.0f} s in total; results.md, results.json and plot.svg are in {folder}")


def _require_programs() -> None:
    """End this program with a message if it lacks packages or programs."""
    if missing := [name for name in MODULES if find_spec(name) is None]:
        sys.exit(f"python -m bench needs {', '.join(missing)}. Run: make .venv/.bench-ready")
    try:
        for name in PACKAGES:
            find_program(name)
    except FileNotFoundError as error:
        sys.exit(str(error))


def _list_measurements(testbed: Testbed) -> Mapping[str, Measurement]:
    """Return the bare loops and all cells."""
    from bench.cells import list_cells  # noqa: PLC0415  # imports the engines

    loops = {targets.LOOP: images.photo(*PHOTO), targets.LARGE_LOOP: images.photo(*LARGE)}
    return {
        **{name: partial(measure_bare_loop, name, image, testbed.folder) for name, image in loops.items()},
        **{cell.name: partial(measure, cell) for cell in list_cells(testbed)},
    }


def _measure_scenarios(testbed: Testbed, rounds: int, seconds: float) -> list[Outcome]:
    servers = scenarios.measure_servers(testbed, seconds)
    swaps = [scenarios.measure_swap(testbed) for _ in range(rounds)]
    starts = [scenarios.measure_start(testbed) for _ in range(rounds)]
    return targets.evaluate_scenarios(servers, swaps, starts)


if __name__ == "__main__":
    main()
