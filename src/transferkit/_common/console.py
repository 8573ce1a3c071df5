"""Messages and progress bars, as `verbose` says. Bars appear only on terminals and in notebooks, after two seconds."""

from __future__ import annotations

import numbers
import sys
from importlib.util import find_spec
from typing import Literal, TypeAlias

import rich.console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import bad_argument

Verbose: TypeAlias = Literal["auto", 0, 1, 2]

DELAY = 2.0  # seconds of work before a bar appears


class Console:
    """What a call tells its user.

    Args:
        verbose: 0 (silent), ``"auto"`` or 1 (messages, and bars on a terminal), 2 (also a line per epoch).

    Raises:
        InvalidInputError: another value.
    """

    def __init__(self, verbose: object) -> None:
        is_number = isinstance(verbose, (bool, numbers.Integral)) and int(verbose) in (0, 1, 2)
        if not is_number and not (isinstance(verbose, str) and verbose == "auto"):
            raise bad_argument("verbose", verbose, "must be 'auto', 0, 1 or 2", "Pass verbose=0 for silence")
        self.level = int(verbose) if isinstance(verbose, numbers.Integral) else 1

    def say(self, text: str, level: int = 1) -> None:
        """Print a message on standard output, if `verbose` is at least this level."""
        if self.level >= level:
            print(text, flush=True)

    def bar(self, title: str, total: float, unit: str) -> Bar:
        """A progress bar, to be used in a `with` block."""
        return Bar(title, total, unit, self.level > 0)


def duration(seconds: float) -> str:
    """A time in a suitable unit."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _is_terminal(stream: object) -> bool:
    """Whether a stream is one; programs without a console have None, and some put an object of their own there."""
    return bool(getattr(stream, "isatty", bool)())


class Bar:
    """A progress bar with a rate and the time left, on standard error.

    It appears only when the work takes longer than two seconds, and never where nobody can watch it: in a log file
    or a pipe.
    """

    def __init__(self, title: str, total: float, unit: str, is_wanted: bool) -> None:
        console = rich.console.Console(file=sys.stderr)
        in_notebook = console.is_jupyter and find_spec("ipywidgets") is not None  # rich warns if these are missing
        is_watched = _is_terminal(sys.stderr) or in_notebook  # rich itself also trusts FORCE_COLOR
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{{task.fields[rate]:,.1f}} {unit}/s"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            redirect_stdout=_is_terminal(sys.stdout),  # output to a file is left alone
            disable=not is_wanted or not is_watched,
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
