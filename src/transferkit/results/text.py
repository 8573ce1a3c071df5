"""Format results as tables: text columns, and HTML for notebooks and pages."""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Table: TypeAlias = "tuple[list[str], list[list[str]]]"  # the names of the columns, and the rows

UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories of control characters, half characters and line breaks
LISTED = 20  # items of a long list that are printed


class Printed:
    """A result that prints as a table, and that a notebook shows as HTML."""

    def _parts(self) -> tuple[str, Table, str]:
        """The text above the table, the table, and the text below it."""
        raise NotImplementedError

    def __str__(self) -> str:
        above, table, below = self._parts()
        return "\n".join([*([above, ""] if above else []), text_table(*table), *([below] if below else [])])

    def _repr_html_(self) -> str:
        above, table, below = self._parts()
        return f"<p>{safe(above)}</p>{html_table(*table)}<p>{safe(below)}</p>"


def listed(head: list[str], items: Sequence[Any], row: Callable[[int, Any], list[str]]) -> tuple[str, Table, str]:
    """The parts of a `Printed` that lists its first 20 items: `row` gives the cells of an item and its number."""
    rows = [row(number, item)[: len(head)] for number, item in enumerate(items[:LISTED])]
    return "", (head, rows), f"... and {len(items) - LISTED} more" if len(items) > LISTED else ""


def text_table(head: list[str], rows: list[list[str]]) -> str:
    """Format text in columns, the first aligned left, the others right."""
    head, rows = [*map(one_line, head)], [[*map(one_line, row)] for row in rows]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    aligned = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines)
    return "\n".join("  ".join(cells) for cells in aligned)


def html_table(head: list[str], rows: list[list[str]], *, sortable: bool = False) -> str:
    """Format a table as HTML; in a page, the headers of a sortable table are buttons that sort it."""
    wrap = "<button type=button>{}</button>" if sortable else "{}"
    heads = "".join(f"<th scope=col>{wrap.format(safe(name))}</th>" for name in head)
    lines = [f"<tr>{''.join(f'<td>{safe(cell)}</td>' for cell in row)}</tr>" for row in rows]
    kind = " class=sortable" if sortable else ""
    return f"<table{kind}><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def figure_text(value: float, digits: int = 3) -> str:
    """A figure for a table; a dash if it is not defined."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def one_line(text: str) -> str:
    """A text with its line breaks and other characters that no terminal can show written as in Python code."""
    return "".join(repr(char)[1:-1] if unicodedata.category(char) in UNPRINTABLE else char for char in text)


def shortened(text: str, limit: int) -> str:
    """Shorten a text to its two ends if it is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: (limit - 1) // 2]}…{text[-(limit // 2) :]}"


def safe(text: object) -> str:
    """Escape text for use in HTML."""
    return html.escape(str(text))
