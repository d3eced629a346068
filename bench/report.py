"""Present the results as tables in Markdown and as an SVG plot, and write them to files."""

import html
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from bench.measure import Sample, cell_name
from bench.targets import BYTES_PER_MB, LARGE, PHOTO, PHOTO_32, Outcome, Round

_CPUINFO = Path("/proc/cpuinfo")
_FONT = 'font-family="sans-serif" font-size="12"'
_WIDTH, _ROW, _LABELS, _FIGURES = 860, 22, 280, 90


def targets_table(outcomes: Sequence[Outcome]) -> str:
    """Return a table of the targets: median of the rounds, minimum and maximum, and whether the target is met."""
    rows = [_target_row(outcome) for outcome in outcomes]
    return _table(("figure", "met", "target", "median", "rounds"), rows, texts=2)


def _target_row(outcome: Outcome) -> Sequence[str]:
    target = outcome.target
    limit = f"{'≥' if target.at_least else '≤'} {target.limit:g}{target.unit}"
    spread = f"{min(outcome.values):.2f} to {max(outcome.values):.2f}"
    met = "yes" if outcome.met else "**no**"
    return target.name, met, limit, f"{outcome.median:.2f}{target.unit}", spread


def systems_table(rounds: Sequence[Round]) -> str:
    """Return a table of all systems that classify photos, the cheapest one first; medians over the rounds."""
    systems = [name.removesuffix(f": {PHOTO}") for name in rounds[0] if name.endswith(f": {PHOTO}")]
    rows = {
        system: [_median_text(rounds, cell_name(system, column.workload), column) for column in _COLUMNS]
        for system in systems
    }
    order = sorted(systems, key=lambda system: float(rows[system][0]))
    heads = [f"{column.workload}: {column.head}" for column in _COLUMNS]
    return _table(("system", *heads), ([system, *rows[system]] for system in order), texts=1)


def cells_table(rounds: Sequence[Round]) -> str:
    """Return a table of all measurements, medians over the rounds."""
    rows = []
    for cell in rounds[0]:
        services = ", ".join(
            f"{service} {statistics.median(samples[cell].cpu_ms(service) for samples in rounds):.2f}"
            for service in rounds[0][cell].cpu_s
        )
        rows.append([cell, services, *(_median_text(rounds, cell, column) for column in (_CPU, _RATE, _P99, _MEMORY))])
    heads = [column.head for column in (_CPU, _RATE, _P99, _MEMORY)]
    return _table(("measurement, connections", "CPU by service", *heads), rows, texts=2)


def conditions(command: str) -> str:
    """Return a sentence about how and where the figures were measured."""
    names = (
        line.partition(":")[2].strip() for line in _CPUINFO.read_text().splitlines() if line.startswith("model name")
    )
    return (
        f"`{command}` on {len(os.sched_getaffinity(0))} processors ({next(names, platform.machine())}), "
        f"Python {platform.python_version()}:"
    )


def write(folder: Path, block: str, parts: Sequence[str], rounds: Sequence[Round], document: Path | None) -> None:
    """Write results.json, results.md and plot.svg, and the tables into a document; print the tables.

    Args:
        folder: Where to write the files.
        block: Name of the document's part between `<!-- begin NAME -->` and `<!-- end NAME -->`, which is replaced.
        parts: Paragraphs and tables.
        rounds: The samples by name, for each round.
        document: The document; None to leave all documents as they are.

    Raises:
        ValueError: The document has no such part.
    """
    tables = "\n\n".join(parts)
    results = [[asdict(sample) for sample in samples.values()] for samples in rounds]
    (folder / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    (folder / "results.md").write_text(f"{tables}\n", encoding="utf-8")
    (folder / "plot.svg").write_text(plot(rounds), encoding="utf-8")
    if document is not None:
        text = replace_block(document.read_text(encoding="utf-8"), block, tables)
        document.write_text(text, encoding="utf-8")
    print(tables)  # noqa: T201  # the result


def replace_block(text: str, block: str, content: str) -> str:
    """Return a document with other content between `<!-- begin BLOCK -->` and `<!-- end BLOCK -->`.

    Raises:
        ValueError: The document has no such part.
    """
    begin, end = f"<!-- begin {block} -->", f"<!-- end {block} -->"
    head, found_begin, rest = text.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"The document has no lines {begin} and {end}. Add them where the tables belong.")
    return f"{head}{begin}\n\n{content}\n\n{end}{tail}"


class _Column(NamedTuple):
    head: str
    figure: Callable[[Sample], float | None]
    digits: int
    workload: str = ""


_CPU = _Column("CPU ms per image", lambda sample: sample.cpu_ms(), 2)
_RATE = _Column("images/s", lambda sample: sample.rate, 0)
_P99 = _Column("p99 ms", lambda sample: sample.load.p99_ms, 0)
_MEMORY = _Column("memory MB", lambda sample: sample.memory_bytes / BYTES_PER_MB or None, 0)
_COLUMNS = (
    *(column._replace(workload=PHOTO) for column in (_CPU, _RATE, _P99)),
    *(_CPU._replace(workload=workload) for workload in (PHOTO_32, LARGE)),
    _MEMORY._replace(workload=PHOTO),
)


def _median_text(rounds: Sequence[Round], cell: str, column: _Column) -> str:
    """Return the median of a column, empty if it was not measured."""
    values = [value for samples in rounds if cell in samples and (value := column.figure(samples[cell])) is not None]
    return f"{statistics.median(values):.{column.digits}f}" if values else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, texts: int) -> str:
    """Return a table whose first `texts` columns are left-aligned, all others right-aligned."""
    rule = ["---"] * texts + ["--:"] * (len(heads) - texts)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def plot(rounds: Sequence[Round]) -> str:
    """Return an SVG bar chart of the CPU time per image of every measurement, by service."""
    medians = {
        cell: {
            service: statistics.median(samples[cell].cpu_ms(service) for samples in rounds)
            for service in rounds[0][cell].cpu_s
        }
        for cell in rounds[0]
    }
    longest_ms = max(sum(parts.values()) for parts in medians.values())
    scale = (_WIDTH - _LABELS - _FIGURES) / longest_ms
    lines = [line for row, (cell, parts) in enumerate(medians.items()) for line in _bar(row, cell, parts, scale)]
    height = _ROW * len(medians) + 2 * _ROW
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" {_FONT}>',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{_LABELS}" y="16">CPU ms per image: gateway dark, nginx light, everything else grey</text>',
            *lines,
            "</svg>",
            "",
        )
    )


def _bar(row: int, cell: str, parts: dict[str, float], scale: float) -> Iterator[str]:
    top = _ROW * (row + 1) + 6
    yield f'<text x="{_LABELS - 6}" y="{top + 12}" text-anchor="end">{html.escape(cell)}</text>'
    left = float(_LABELS)
    for service, milliseconds in parts.items():
        colour = {"gateway": "#1f4e9c", "nginx": "#7fb2f0"}.get(service, "#9a9a9a")
        width = milliseconds * scale
        yield f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{_ROW - 6}" fill="{colour}"/>'
        left += width
    yield f'<text x="{left + 5:.1f}" y="{top + 12}">{sum(parts.values()):.2f}</text>'
