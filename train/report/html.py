"""Build pieces of an HTML page. Arguments are HTML, so callers escape any text in them."""

from collections.abc import Iterable, Sequence


def section(heading: str, content: str) -> str:
    """Return a section under a heading."""
    return f"<section><h2>{heading}</h2>{content}</section>"


def note(content: str) -> str:
    """Return an explanatory paragraph."""
    return f'<p class="soft">{content}</p>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; `rows` contain the results of `cell` and `bar`."""
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f'<div class="panel wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def cell(content: str) -> str:
    """Return a table cell."""
    return f"<td>{content}</td>"


def bar(ratio: float | None) -> str:
    """Return a table cell that shows a ratio of 0..1 as a number and as a bar; a dash for None."""
    if ratio is None:
        return cell("-")
    return f'<td class="bar" style="--share:{ratio:.1%}">{ratio:.3f}</td>'


def plots(figures: Iterable[str]) -> str:
    """Return figures in a grid, side by side where the page is wide enough."""
    return f'<div class="plots">{"".join(figures)}</div>'


def figure(plot: str, caption: str) -> str:
    """Return a plot with its caption."""
    return f'<figure class="panel">{plot}<figcaption>{caption}</figcaption></figure>'


def tile(value: str, name: str, details: str = "") -> str:
    """Return a metric in large print, with its name and details."""
    return f'<div class="panel"><b>{value}</b>{name}<small>{details}</small></div>'


def percent(ratio: float | None, digits: int = 2) -> str:
    """Format a ratio as a percentage with `digits` decimals; a dash for None."""
    return "-" if ratio is None else f"{100 * ratio:.{digits}f} %"


def number(ratio: float | None) -> str:
    """Format a ratio as a number; a dash for None."""
    return "-" if ratio is None else f"{ratio:.3f}"
