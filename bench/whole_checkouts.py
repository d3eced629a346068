"""Compare the whole stacks of two checkouts: nginx, gateway and model server; `python -m bench.checkouts --whole`.

Each checkout exports the same MobileNetV2 by its own `train` and serves it, and its own committed models, as `make run`
does. The second one also serves MobileNetV2 in float32, by a stack of its own.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench import images, network, report, served_models, targets
from bench.measure import Cell, measure, measure_rounds
from bench.served_models import COMMITTED, Form
from bench.services import start_whole_stack
from bench.stack_load import CONNECTIONS, LARGE, PHOTO, StackLoad
from bench.targets import AFTER, AFTER_FLOAT32, BEFORE
from tools.stack import Stack


def compare(options: argparse.Namespace) -> None:
    """Measure both stacks in turn, print the tables, and write them and the raw figures to a folder.

    Args:
        options: The command line of `bench.checkouts`.
    """
    folder: Path = options.run_dir.resolve()
    before, after = options.before.resolve(), options.after.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    served_models.prepare_network(folder, None)
    with Stack(folder) as stack:
        loads = {
            BEFORE: _start(stack, BEFORE, folder, before, None),
            AFTER: _start(stack, AFTER, folder, after, "int8"),
            AFTER_FLOAT32: _start(stack, AFTER_FLOAT32, folder, after, "float32"),
        }
        measurements = {cell.name: partial(measure, cell) for cell in _list_cells(loads)}
        rounds = measure_rounds(measurements, options.rounds, options.seconds)
    outcomes = targets.evaluate(targets.CHECKOUT_TARGETS, rounds)
    command = f"python -m bench.checkouts BEFORE AFTER --whole --rounds {options.rounds} --seconds {options.seconds}"
    parts = [report.conditions(command), report.targets_table(outcomes), report.cells_table(rounds)]
    report.write(folder, "checkouts", parts, rounds, options.document)


def _start(stack: Stack, system: str, folder: Path, checkout: Path, form: Form | None) -> StackLoad:
    """Start the stack of a checkout with MobileNetV2 in a form, or in what it exports by default."""
    name = system.replace(", ", "-")
    models = folder / f"models-{name}"
    served_models.export_network(folder, models, form, checkout=checkout)
    served_models.copy_committed(models, checkout=checkout)
    served_models.write_config(models, (*COMMITTED, network.NAME))
    return StackLoad(system, start_whole_stack(stack, name, models, folder=folder, checkout=checkout), folder)


def _list_cells(loads: dict[str, StackLoad]) -> Iterator[Cell]:
    """Yield the measurements, those of the same images one after the other."""
    photo, large = images.photo(*PHOTO), images.photo(*LARGE)
    for connections in CONNECTIONS:
        for load in loads.values():
            yield load.photos(f"photo, {connections}", photo, connections)
    both = (loads[BEFORE], loads[AFTER])
    yield from (load.photos("12 MP, 8", large, 8) for load in both)
    yield from (load.committed(model) for model in COMMITTED for load in both)
