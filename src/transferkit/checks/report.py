"""The report of the data check: faults by name, as a table, a DataFrame, or a page with thumbnails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, NamedTuple

from .._public import public_in_room
from ..errors import import_extra
from ..images import Images, thumbnails
from ..results import Label, figure, html_table, page_path, safe, write_page

if TYPE_CHECKING:
    import pandas


SHOWN = 5  # faults of a kind that the table lists
THUMBNAILS = 100  # pictures of a kind on the page
SIDE = 128  # pixels of their longer side


@public_in_room
class Fault(NamedTuple):
    """One thing that is wrong, or may be wrong.

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
        faults: all faults, the serious ones first.
        counts: class name -> number of images.
        n_images: number of images checked.
    """

    faults: list[Fault] = field(default_factory=list)
    counts: dict[Label, int] = field(default_factory=dict)
    n_images: int = 0
    _images: Mapping[str, Images] = field(default_factory=dict, repr=False, compare=False)  # one image each, by name

    @property
    def ok(self) -> bool:
        """Whether nothing serious was found."""
        return not any(fault.serious for fault in self.faults)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per fault, with the columns kind, where, detail, serious and other (extra ``pandas``)."""
        columns = list(Fault._fields)
        return import_extra("pandas", "A DataFrame", "pandas").DataFrame(self.faults, columns=columns)

    def html(self, path: str | PathLike[str]) -> None:
        """Write all faults, with thumbnails of the images, to one page that needs no other file.

        Args:
            path: a path or URL that ends in ``.html``; an existing file is replaced.

        Raises:
            InvalidInputError: another ending, or a path that cannot be written to.

        Example:
            >>> import transferkit as tk
            >>> tk.check_images("photos/train", verbose=0).html("report.html")
        """
        write_page(page_path(path), "Image check", self._page())

    def summary(self) -> str:
        """One line: the number of images, and of faults of each kind; serious ones are marked."""
        found = self._by_kind()
        kinds = ", ".join(f"{len(faults):,} {kind}{' (serious)' * faults[0].serious}" for kind, faults in found)
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
        legend = ["", "! serious: training would fail, or learn or measure something wrong"]
        return "\n".join(lines if self.ok else [*lines, *legend])

    def _by_kind(self) -> Iterable[tuple[str, list[Fault]]]:
        kinds: dict[str, list[Fault]] = {}
        for fault in self.faults:
            kinds.setdefault(fault.kind, []).append(fault)
        return kinds.items()

    def _repr_html_(self) -> str:
        rows = [[f.kind, f.where, f.detail] for _, faults in self._by_kind() for f in faults[:SHOWN]]
        return f"<p>{safe(self.summary())}</p>" + (html_table(["kind", "where", "detail"], rows) if rows else "")

    def _page(self) -> str:
        counts = html_table(["class", "images"], [[str(name), f"{count:,}"] for name, count in self.counts.items()])
        sections = "".join(_section(kind, faults, self._images) for kind, faults in self._by_kind())
        return f"<p>{safe(self.summary())}</p>{counts}{sections}"


def _section(kind: str, faults: list[Fault], images: Mapping[str, Images]) -> str:
    head = f"<h2{' class=serious' if faults[0].serious else ''}>{safe(kind)} <small>{len(faults):,}</small></h2>"
    figures = "".join(_figure(fault, images) for fault in faults[:THUMBNAILS])
    rest = f"<p>... and {len(faults) - THUMBNAILS:,} more in .faults</p>" if len(faults) > THUMBNAILS else ""
    return head + figures + rest


def _figure(fault: Fault, images: Mapping[str, Images]) -> str:
    named = [images[name] for name in (fault.where, fault.other or "") if name in images]
    pictures = [picture for image in named for picture in thumbnails(image, [0], SIDE) if picture is not None]
    return figure(pictures, fault.where, fault.detail)


def _one_line(text: str) -> str:
    """A name, or a sentence that contains one, without line breaks and control characters."""
    return text if text.isprintable() else repr(text)
