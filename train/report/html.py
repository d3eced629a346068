"""Pieces of an HTML page; what is passed as `content`, `cells` or `caption` is HTML already."""

from collections.abc import Iterable, Sequence


def section(heading: str, content: str) -> str:
    """Return a section under a heading."""
    return f"<section><h2>{heading}</h2>{content}</section>"


def note(content: str) -> str:
    """Return a paragraph that explains."""
    return f'<p class="soft">{content}</p>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; `rows` hold what `cell` and `bar` return."""
    head = "".join(f'<th scope="col">{heading}</th>' for heading in headings)
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f'<div class="panel wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def cell(content: str) -> str:
    """Return a cell of a table."""
    return f"<td>{content}</td>"


def bar(ratio: float | None) -> str:
    """Return a cell that shows a ratio of 0..1 as a number and as a bar."""
    if ratio is None:
        return cell("-")
    return f'<td class="bar" style="--share:{ratio:.1%}">{ratio:.3f}</td>'


def plots(figures: Iterable[str]) -> str:
    """Return figures side by side, as far as there is room."""
    return f'<div class="plots">{"".join(figures)}</div>'


def figure(drawn: str, caption: str) -> str:
    """Return a plot with its explanation."""
    return f'<figure class="panel">{drawn}<figcaption>{caption}</figcaption></figure>'


def tile(value: str, name: str, more: str = "") -> str:
    """Return a figure in large print."""
    return f'<div class="panel"><b>{value}</b>{name}<small>{more}</small></div>'


def percent(ratio: float | None, digits: int = 2) -> str:
    """Write a ratio in hundredths, with so many digits after the point; a dash where there is none."""
    return "-" if ratio is None else f"{100 * ratio:.{digits}f} %"


def number(ratio: float | None) -> str:
    """Write a ratio as it is; a dash where there is none."""
    return "-" if ratio is None else f"{ratio:.3f}"
