"""Measure the stack against its floor and its alternatives: `make bench`, or `python -m bench`.

Every round measures everything once, one after the other, so that what else the machine does meets all alike; ratios
are of the same round. wrk and h2load make the load, and each answer is checked. Results lie in RUN_DIR afterwards.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import clients, episodes, measure, pictures, report, targets
from bench.stage import Stage, staged
from bench.targets import Outcome, Round


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write results.json, results.md and plot.svg."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="for each measurement")
    parser.add_argument("--run-dir", type=Path, default=Path(".run/bench"))
    parser.add_argument("--weights", help="file of MobileNetV2's weights; random without it")
    options = parser.parse_args(arguments)
    clients.require()
    folder = options.run_dir.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    _say("starting, which takes a minute or two the first time ...")
    with staged(folder, options.weights) as stage:
        rounds = _rounds(stage, options.rounds, options.seconds)
        servers = episodes.servers(stage, options.seconds)
        _say(f"capacity of model servers used: {servers}")
        swaps = [episodes.swap(stage) for _ in range(min(3, options.rounds))]
        starts = [episodes.start(stage) for _ in range(min(3, options.rounds))]
    outcomes = [*targets.judge(rounds), *targets.judge_episodes(servers, swaps, starts)]
    raw = {
        "machine": _machine(),
        "options": {"rounds": options.rounds, "seconds": options.seconds, "weights": options.weights},
        "rounds": [[sample.as_json() for sample in samples.values()] for samples in rounds],
        "servers": servers,
        "swaps": swaps,
        "starts": starts,
    }
    _write(folder, raw, rounds, outcomes)
    _say(f"{time.monotonic() - started_s:.0f} s in all; results.md, results.json and plot.svg lie in {folder}")


def _rounds(stage: Stage, number: int, seconds: int) -> list[Round]:
    """Measure everything so many times, after one round that is not counted."""
    found = measure.cells(stage)
    loops = {targets.LOOP: pictures.photo(*measure.PHOTO), targets.LARGE_LOOP: pictures.photo(*measure.LARGE)}
    rounds: list[Round] = []
    for index in range(number + 1):
        samples: dict[str, measure.Sample] = {}
        for name, picture in loops.items():
            samples[name] = replace(measure.floor(picture, stage.folder, 1), cell=name)
        for cell in found:
            samples[cell.name] = measure.take(cell, seconds)
            _say(f"round {index} of {number}: {cell.name:35} {samples[cell.name].cpu_ms():7.2f} CPU ms a picture")
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


def _write(folder: Path, raw: Mapping[str, Any], rounds: Sequence[Round], outcomes: Sequence[Outcome]) -> None:
    (folder / "results.json").write_text(json.dumps(raw, indent=1), encoding="utf-8")
    (folder / "plot.svg").write_text(report.plot(rounds), encoding="utf-8")
    tables = f"{report.targets_table(outcomes)}\n\n{report.cells_table(rounds)}\n"
    (folder / "results.md").write_text(tables, encoding="utf-8")
    _say(f"\n{tables}\n{sum(outcome.met for outcome in outcomes)} of {len(outcomes)} targets are met.")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201  # what a command is for


if __name__ == "__main__":
    main()
