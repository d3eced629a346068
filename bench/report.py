"""Present the results as tables in Markdown and as an SVG plot."""

import html
import statistics
from collections.abc import Iterator, Sequence

from bench.targets import Outcome, Round

_FONT = 'font-family="sans-serif" font-size="12"'
_WIDTH, _ROW, _LABELS, _FIGURES = 860, 22, 280, 90


def targets_table(outcomes: Sequence[Outcome]) -> str:
    """Return a table of the targets: median of the rounds, minimum and maximum, and whether the target is met."""
    rows = [_target_row(outcome) for outcome in outcomes]
    return "\n".join(("| figure | target | median | rounds | met |", "|---|--:|--:|--:|---|", *rows))


def _target_row(outcome: Outcome) -> str:
    target = outcome.target
    limit = f"{'≥' if target.at_least else '≤'} {target.limit:g}{target.unit}"
    spread = f"{min(outcome.values):.2f} to {max(outcome.values):.2f}"
    met = "yes" if outcome.met else "**no**"
    return f"| {target.name} | {limit} | {outcome.median:.2f}{target.unit} | {spread} | {met} |"


def cells_table(rounds: Sequence[Round]) -> str:
    """Return a table of all measurements with CPU time and throughput, medians over the rounds."""
    rows = []
    for cell in rounds[0]:
        samples = [samples[cell] for samples in rounds]
        parts = ", ".join(
            f"{service} {statistics.median(sample.cpu_ms(service) for sample in samples):.2f}"
            for service in samples[0].cpu_s
        )
        cpu = statistics.median(sample.cpu_ms() for sample in samples)
        rate = statistics.median(sample.rate for sample in samples)
        latencies_ms = [sample.load.p99_ms for sample in samples if sample.load.p99_ms is not None]
        p99 = f"{statistics.median(latencies_ms):.0f}" if latencies_ms else ""
        rows.append(f"| {cell} | {cpu:.2f} | {parts} | {rate:.0f} | {p99} |")
    head = "| measurement, connections | CPU ms per image | by service | images/s | p99 ms |"
    return "\n".join((head, "|---|--:|---|--:|--:|", *rows))


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
