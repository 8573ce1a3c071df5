"""Where on disk the values of a pass lie, row by row, while it writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .segments import Segment
from .shelves import MappedRows, Shelf
from .store import Store
from .values import Rows

__all__ = ["NoRoomError", "Placement"]


class NoRoomError(Exception):
    """The disk filled up in the middle of a pass whose values must lie there; it is internal, no user sees it."""


class Placement:
    """Where on disk each row lies."""

    def __init__(self, shelf: Shelf, count: int) -> None:
        self._shelf = shelf
        self._places = np.full((count, 2), -1, np.int64)
        self._files: list[Segment] = []
        self._numbers: dict[int, int] = {}  # of a file in `_files`, by its id
        self._waiting: dict[bytes, list[int]] = {}  # rows whose values are not on disk yet

    def place(self, segment: Segment, number: int, rows: Sequence[int]) -> None:
        if id(segment) not in self._numbers:
            self._numbers[id(segment)] = len(self._files)
            self._files.append(segment)
        self._places[rows] = self._numbers[id(segment)], number

    def expect(self, key: bytes, row: int) -> None:
        self._waiting.setdefault(key, []).append(row)

    def settle(self, keys: Sequence[bytes], path: Path | None) -> None:
        """Note that the rows of these keys lie in a file now, in this order."""
        if not keys or path is None:
            return
        segment = self._shelf.written(path)
        if segment is None:  # another process has merged it with others
            self._shelf.refresh()
        for number, key in enumerate(keys):
            found = (segment, number) if segment is not None else self._shelf.find(key)
            if found is None:
                raise NoRoomError
            self.place(found[0], found[1], self._waiting.pop(key))

    def rows(self, number: int, store: Store | None, form: tuple[str, tuple[int, ...]]) -> Rows:
        """One tensor of all rows."""
        if not self._files:
            return np.empty((0, *form[1]), form[0])
        return MappedRows(self._files, number, self._places, store)
