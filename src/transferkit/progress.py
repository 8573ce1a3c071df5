"""Bars for long work, and messages. Bars show on terminals and notebooks only, after two seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Bar", "duration", "readable", "say"]

DELAY = 2.0  # seconds of work before a bar appears


def say(text: str, verbose: str | int) -> None:
    """A message to the user, on standard output; `verbose=0` silences it."""
    if verbose != 0:
        print(text, flush=True)


def readable(size: float) -> str:
    """Bytes in the unit that suits their number."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def duration(seconds: float) -> str:
    """A time in the unit that suits its length."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Bar:
    """A progress bar with a rate and the time left, on standard error.

    It appears only when the work takes longer than two seconds, and never where nobody could watch
    it: in a log file, in a pipe, or with ``verbose=0``.
    """

    def __init__(self, title: str, total: float, unit: str, verbose: str | int) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._wanted = verbose != 0
        self._started = time.monotonic()
        self.done = 0.0
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def advance(self, count: float = 1, title: str | None = None, total: float | None = None) -> None:
        """Count `count` more units as done, under a new title or of another total if one is given."""
        self.done += count
        self._title = title or self._title
        self._total = total or self._total
        if self._progress is None and self._wanted and time.monotonic() - self._started > DELAY:
            self._appear()
        if self._progress is not None and self._task is not None:
            rate = self.done / (time.monotonic() - self._started)
            shown = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
            self._progress.update(
                self._task, completed=self.done, total=self._total or None, description=self._title, rate=shown
            )

    def _appear(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(file=sys.stderr)
        if not (sys.stderr.isatty() or console.is_jupyter):  # rich itself also trusts FORCE_COLOR
            self._wanted = False
            return
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{{task.fields[rate]}} {self._unit}/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # what goes to a file stays what goes to a file
        )
        self._task = self._progress.add_task(self._title, total=self._total or None, rate="")
        self._progress.start()

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
