"""Results as tables: in columns of text, and as HTML for notebooks and pages."""

from __future__ import annotations

import html
import math
from typing import TypeAlias

Table: TypeAlias = "tuple[list[str], list[list[str]]]"  # the names of the columns, and the rows


class Printed:
    """What prints as a table; a notebook shows the same as HTML."""

    def _parts(self) -> tuple[str, Table, str]:
        """The text above the table, the table, and the text below it."""
        raise NotImplementedError

    def __str__(self) -> str:
        above, table, below = self._parts()
        return "\n".join([*([above, ""] if above else []), text_table(*table), *([below] if below else [])])

    def _repr_html_(self) -> str:
        above, table, below = self._parts()
        return f"<p>{safe(above)}</p>{html_table(*table)}<p>{safe(below)}</p>"


def text_table(head: list[str], rows: list[list[str]]) -> str:
    """Text in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    aligned = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines)
    return "\n".join("  ".join(cells) for cells in aligned)


def html_table(head: list[str], rows: list[list[str]], *, sortable: bool = False) -> str:
    """The same as HTML; in a page, the heads of a sortable table are buttons that sort it."""
    wrap = "<button type=button>{}</button>" if sortable else "{}"
    heads = "".join(f"<th scope=col>{wrap.format(safe(name))}</th>" for name in head)
    lines = [f"<tr>{''.join(f'<td>{safe(cell)}</td>' for cell in row)}</tr>" for row in rows]
    kind = " class=sortable" if sortable else ""
    return f"<table{kind}><thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def figure_text(value: float, digits: int = 3) -> str:
    """A figure for a table; a dash where it is not defined."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def shortened(text: str, limit: int) -> str:
    """Both ends of a text that is longer than `limit` characters."""
    return text if len(text) <= limit else f"{text[: (limit - 1) // 2]}…{text[-(limit // 2) :]}"


def safe(text: object) -> str:
    """Text as part of HTML, in which it is nothing but text."""
    return html.escape(str(text))
