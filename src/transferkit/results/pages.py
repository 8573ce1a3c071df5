"""Build and write HTML pages of numbers and images that need no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib import resources
from os import PathLike
from string import Template

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._common.arguments import check_parent
from .._common.files import replacing
from .._common.remote import Location, Remote, located
from ..errors import InvalidInputError, bad_argument
from .scores import Bin
from .text import safe, shortened

LARGEST_MATRIX = 300  # classes; a larger table would take megabytes
LONGEST = 28  # characters of a class name beside a matrix
CHART = 320  # the side of the chart in pixels


def page_path(path: str | PathLike[str]) -> Location:
    """Where to write a page, here or at a URL.

    Raises:
        InvalidInputError: the path does not end in ``.html``, or its folder does not exist.
    """
    if not isinstance(path, (str, PathLike)) or not str(path).endswith(".html"):
        raise bad_argument("path", path, "must end in .html", "Pass for example 'report.html'")
    target = located(path)
    if not isinstance(target, Remote):
        check_parent("path", target)
    return target


def write_page(path: Location, title: str, body: str) -> None:
    """Write a page; `body` is HTML with all text made `safe`. An existing file is replaced as a whole or not at all.

    Raises:
        InvalidInputError: the path cannot be written to.
    """
    frame = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    page = Template(frame).substitute(title=safe(title), body=body)
    try:
        content = page.encode(errors="backslashreplace")
        if isinstance(path, Remote):
            path.write(content)
            return
        with replacing(path) as file:
            file.write_bytes(content)
    except OSError as error:
        raise InvalidInputError(
            f"{str(path)!r} cannot be written ({error.strerror or error}): it must be a file that you may write to. "
            f"Pass another path."
        ) from error


def figure(pictures: Sequence[npt.NDArray[np.uint8] | None], caption: str, detail: str) -> str:
    """Images uint8 `(h, w, 3)`, RGB, above two lines of text; None is an image that cannot be read."""
    shown = "".join("<span class=gone>cannot be read</span>" if one is None else _picture(one) for one in pictures)
    return f"<figure>{shown}<figcaption>{safe(caption)}<br><small>{safe(detail)}</small></figcaption></figure>"


def gallery(pictures: Sequence[npt.NDArray[np.uint8] | None], lines: Sequence[tuple[str, str]]) -> str:
    """Images, each above its two lines of text."""
    return "".join(figure([picture], *text) for picture, text in zip(pictures, lines, strict=True))


def _picture(pixels: npt.NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    data = base64.b64encode(file.getvalue()).decode()
    height, width = pixels.shape[:2]
    return f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="">'


def matrix(counts: npt.NDArray[np.int64], names: Sequence[str]) -> str:
    """A confusion matrix as a table of counts; colours are shares of the true class."""
    if len(names) > LARGEST_MATRIX:
        return f"<p>Not shown for {len(names)} classes; .confusion_matrix holds it.</p>"
    heads = "".join(f'<th scope=col title="{safe(name)}"><span>{_short(name)}</span></th>' for name in names)
    rows = "".join(_matrix_row(row, row_number, names) for row_number, row in enumerate(counts.tolist()))
    return (
        "<p>Rows are the true classes, columns the predicted ones; colours are shares of the true class.</p>"
        "<div class=matrix tabindex=0 role=region aria-label='Confusion matrix'><table><thead><tr>"
        f"<th scope=col>true \\ predicted</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _matrix_row(counts: list[int], true: int, names: Sequence[str]) -> str:
    head, total = safe(names[true]), sum(counts)
    cells = "".join(  # with many classes, most cells are empty, so an empty one is short
        f'<td style="--s:{count / total:.2f}" title="{head}, predicted {safe(name)}: {100 * count / total:.1f} %">{count}'
        if count
        else "<td>"
        for count, name in zip(counts, names, strict=True)
    )
    return f'<tr><th scope=row title="{head}">{_short(names[true])}</th>{cells}</tr>'


def _short(name: str) -> str:
    return safe(shortened(name, LONGEST))


def calibration(bins: Sequence[Bin]) -> str:
    """A drawing of accuracy by confidence, a dot for each bin, with 95 % intervals; the diagonal is perfect."""
    ticks = "".join(
        f"<text x={x * CHART:.0f} y={CHART + 20} text-anchor=middle>{x:g}</text>"
        f"<text x=-8 y={(1 - x) * CHART + 4:.0f} text-anchor=end>{x:g}</text>"
        for x in (0, 0.25, 0.5, 0.75, 1)
    )
    return (
        f"<svg viewBox='-60 -15 {CHART + 80} {CHART + 65}' width={CHART + 80} role=img "
        f"aria-label='Accuracy by confidence'><path d='M0,0V{CHART}H{CHART}' /><path class=ideal d='M0,{CHART}L{CHART},0' />"
        f"{ticks}<text x={CHART / 2} y={CHART + 42} text-anchor=middle>confidence</text>"
        f"<text transform='translate(-44,{CHART / 2}) rotate(-90)' text-anchor=middle>accuracy</text>"
        f"{''.join(map(_dot, bins))}</svg><p>Each dot stands for the images in one range of confidence, with the 95 % "
        "interval of their accuracy. On the dashed line, confidence equals accuracy.</p>"
    )


def _dot(one: Bin) -> str:
    x, (low, high) = one.confidence * CHART, one.interval
    said = f"{one.images:,} images, mean confidence {one.confidence:.3f}, accuracy {one.accuracy:.3f}"
    return (
        f"<g class=bin><title>{said}</title><path d='M{x:.1f},{(1 - low) * CHART:.1f}V{(1 - high) * CHART:.1f}' />"
        f"<circle cx={x:.1f} cy={(1 - one.accuracy) * CHART:.1f} r=5 /></g>"
    )
