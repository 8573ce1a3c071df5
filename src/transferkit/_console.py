"""Bars for long work, and messages. Bars show on terminals and notebooks only, after two seconds."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
        console = Console(file=sys.stderr)
        is_watched = sys.stderr.isatty() or console.is_jupyter  # rich itself also trusts FORCE_COLOR
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{{task.fields[rate]:,.1f}} {unit}/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # what goes to a file stays what goes to a file
            disable=verbose == 0 or not is_watched,
        )
        self._progress.add_task(title, total=total or None, rate=0.0)
        (self._task,) = self._progress.tasks

    def advance(self, count: float = 1, title: str | None = None) -> None:
        """Count `count` more units as done, under a new title if one is given."""
        task, elapsed = self._task, self._task.elapsed or 0.0
        rate = (task.completed + count) / max(elapsed, 1e-3)
        self._progress.update(task.id, advance=count, description=title, rate=rate)
        if elapsed > DELAY:
            self._progress.start()

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress.live.is_started:
            self._progress.stop()
