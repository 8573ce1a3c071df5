"""What the data check finds: faults by name, as a table, a DataFrame, or a page with thumbnails."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from .._files import replacing
from .._public import public_in_room
from ..errors import ImageReadError, InvalidInputError, bad_argument, import_extra
from ..images import Images, content_of, decode
from ..results import Label

if TYPE_CHECKING:
    import pandas

__all__ = ["Fault", "Report"]

SHOWN = 5  # faults of a kind that the table lists
THUMBNAILS = 100  # pictures of a kind on the page
SIDE = 128  # pixels of their longer side

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222; }
h2 { margin-top: 2rem; border-bottom: 1px solid #ccc; } h2.serious { border-color: #c00; color: #a00; }
figure { display: inline-block; width: 300px; margin: .5rem; vertical-align: top; overflow-wrap: anywhere; }
figure img { margin-right: .3rem; border: 1px solid #ddd; } figcaption { font-size: 13px; } small { color: #666; }
td, th { padding: 0 1rem .1rem 0; text-align: left; }
"""


@public_in_room
class Fault(NamedTuple):
    """One thing that is wrong, or that may be.

    Attributes:
        kind: for example ``"truncated"`` or ``"duplicate"``; the documentation lists them.
        where: the file, the folder or the class.
        detail: what is wrong with it.
        serious: training would fail, or learn or measure something wrong.
        other: the image that a duplicate is a copy of.
    """

    kind: str
    where: str
    detail: str
    serious: bool
    other: str | None = None


@public_in_room
@dataclass
class Report:
    """The faults of a data set; prints as a short table.

    Attributes:
        faults: all of them, the serious ones first.
        counts: class name -> number of images.
        n_images: number of images checked.
    """

    faults: list[Fault] = field(default_factory=list)
    counts: dict[Label, int] = field(default_factory=dict)
    n_images: int = 0
    _images: Mapping[str, Images] = field(default_factory=dict, repr=False, compare=False)  # each alone, by name

    @property
    def ok(self) -> bool:
        """Whether nothing serious was found."""
        return not any(fault.serious for fault in self.faults)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per fault, with the columns kind, where, detail, serious and other (extra ``pandas``)."""
        columns = list(Fault._fields)
        return import_extra("pandas", "A DataFrame", "pandas").DataFrame(self.faults, columns=columns)

    def html(self, path: str | PathLike[str]) -> None:
        """Write one page with all faults and thumbnails of the images; it needs no other file.

        Args:
            path: ends in ``.html``; an existing file is replaced.

        Raises:
            InvalidInputError: another ending, or a path that cannot be written to.

        Example:
            >>> import transferkit as tk
            >>> tk.check_images("photos/train", verbose=0).html("report.html")
        """
        if not isinstance(path, (str, PathLike)) or not str(path).endswith(".html"):
            raise bad_argument("path", path, "must end in .html", "Pass for example 'report.html'")
        page = self._page()
        try:
            with replacing(Path(path)) as file:
                file.write_text(page, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise InvalidInputError(
                f"{str(path)!r} cannot be written ({error.strerror or error}): it must be a file in a folder that exists and "
                f"that you may write to. Pass another path, or make the folder first."
            ) from error

    def summary(self) -> str:
        """One line: how many images, and how many faults of each kind."""
        kinds = ", ".join(f"{len(faults):,} {kind}" for kind, faults in self._by_kind())
        return self._headed(kinds or "no faults found")

    def _headed(self, text: str) -> str:
        return f"{self.n_images:,} images in {len(self.counts)} classes: {text}"

    def __str__(self) -> str:
        if not self.faults:
            return self.summary()
        serious = sum(fault.serious for fault in self.faults)
        lines = [self._headed(f"{serious:,} serious faults, {len(self.faults):,} in all"), ""]
        for kind, faults in self._by_kind():
            lines.append(f"{'!' if faults[0].serious else ' '} {len(faults):6,}  {kind}")
            lines += [f"{'':10}{_one_line(fault.where)}: {_one_line(fault.detail)}" for fault in faults[:SHOWN]]
            if len(faults) > SHOWN:
                lines.append(f"{'':10}... and {len(faults) - SHOWN:,} more in .faults")
        return "\n".join([*lines, "", "! training would fail, or learn or measure something wrong"])

    def _by_kind(self) -> Iterable[tuple[str, list[Fault]]]:
        kinds: dict[str, list[Fault]] = {}
        for fault in self.faults:
            kinds.setdefault(fault.kind, []).append(fault)
        return kinds.items()

    def _page(self) -> str:
        counts = "".join(f"<tr><td>{_safe(name)}</td><td>{count:,}</td></tr>" for name, count in self.counts.items())
        sections = "".join(_section(kind, faults, self._images) for kind, faults in self._by_kind())
        return (
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Image check</title><style>{STYLE}'
            f"</style></head><body><h1>Image check</h1><p>{_safe(self.summary())}</p><table><tr><th>class</th>"
            f"<th>images</th></tr>{counts}</table>{sections}</body></html>\n"
        )


def _section(kind: str, faults: list[Fault], images: Mapping[str, Images]) -> str:
    head = f"<h2{' class=serious' if faults[0].serious else ''}>{_safe(kind)} <small>{len(faults):,}</small></h2>"
    figures = "".join(_figure(fault, images) for fault in faults[:THUMBNAILS])
    rest = f"<p>... and {len(faults) - THUMBNAILS:,} more in .faults</p>" if len(faults) > THUMBNAILS else ""
    return head + figures + rest


def _figure(fault: Fault, images: Mapping[str, Images]) -> str:
    pictures = "".join(_picture(images[name]) for name in (fault.where, fault.other or "") if name in images)
    caption = f"{_safe(fault.where)}<br><small>{_safe(fault.detail)}</small>"
    return f"<figure>{pictures}<figcaption>{caption}</figcaption></figure>"


def _picture(image: Images) -> str:
    """A thumbnail as a part of the page; nothing if the image cannot be read."""
    try:
        content = content_of(image, 0)
        shown = decode(content, size=(SIDE, SIDE)) if isinstance(content, bytes) else content
    except ImageReadError:
        return ""
    small = Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8))
    small.thumbnail((SIDE, SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img src="data:image/jpeg;base64,{data}" width="{small.width}" height="{small.height}" alt="">'


def _safe(text: object) -> str:
    return html.escape(str(text))


def _one_line(text: str) -> str:
    """A name, or a sentence with one, without line breaks and control characters."""
    return text if text.isprintable() else repr(text)
