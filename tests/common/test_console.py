"""Messages and bars: silent where nobody watches."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Iterator

import pytest
from helpers import refused

from transferkit._common import console as progress
from transferkit._common.console import Console
from transferkit.errors import InvalidInputError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary terminal, and bars that appear at once."""
    monkeypatch.setattr(progress, "DELAY", -1.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@contextlib.contextmanager
def seen_on(screen: io.StringIO) -> Iterator[io.StringIO]:
    """`screen` as standard error. Not in a fixture: pytest puts its own in place before the test runs."""
    with contextlib.redirect_stderr(screen):
        yield screen


def work(verbose: str | int, steps: int = 5) -> None:
    with Console(verbose).bar("reading", steps, "images") as bar:
        for _ in range(steps):
            bar.advance()


@pytest.mark.parametrize("verbose", ["auto", 1, 2])
def test_a_message_goes_to_standard_output(verbose: str | int, capsys: pytest.CaptureFixture[str]) -> None:
    Console(verbose).say("hello ñ")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("hello ñ\n", "")


def test_verbose_0_silences_messages(capsys: pytest.CaptureFixture[str]) -> None:
    Console(0).say("hello")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verbose", ["auto", 1, 2])
def test_on_a_terminal_a_bar_shows_its_title_count_and_rate(verbose: str | int) -> None:
    with seen_on(Terminal()) as screen, Console(verbose).bar("reading", 400, "images") as bar:
        bar.advance(100)
        bar.advance(300, "computing")
    text = screen.getvalue()
    assert "reading" in text
    assert "400/400" in text
    assert "computing" in text
    assert re.search(r"\d+ images/s", text)


def test_verbose_0_shows_no_bar() -> None:
    with seen_on(Terminal()) as screen:
        work(0)
    assert screen.getvalue() == ""


@pytest.mark.parametrize("verbose", ["auto", 1, 2])
def test_in_a_pipe_no_bar_is_written(verbose: str | int) -> None:
    with seen_on(io.StringIO()) as pipe:
        work(verbose)
    assert pipe.getvalue() == ""


def test_in_a_pipe_no_bar_is_written_even_where_colours_are_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as many build machines set it
    with seen_on(io.StringIO()) as pipe:
        work("auto")
    assert pipe.getvalue() == ""


def test_in_a_notebook_that_cannot_show_a_bar_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with seen_on(io.StringIO()) as cell:  # a warning of rich would be an error here
        work("auto")
    assert cell.getvalue() == ""


def test_short_work_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "DELAY", 60.0)
    with seen_on(Terminal()) as screen:
        work("auto")
    assert screen.getvalue() == ""


def test_a_bar_appears_after_more_than_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert progress.DELAY == 2
    with seen_on(Terminal()) as screen, Console("auto").bar("reading", 10, "images") as bar:
        started = bar._task.start_time
        bar._task.start_time = started - 1.5
        bar.advance()
        assert screen.getvalue() == ""
        bar._task.start_time = started - 2.1
        bar.advance(3)
    assert "4/10" in screen.getvalue()


def test_what_is_printed_beside_a_bar_stays_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with seen_on(Terminal()) as screen, Console("auto").bar("reading", 10, "images") as bar:
        bar.advance()
        sys.stdout.write("from a callback\n")
    assert capsys.readouterr().out == "from a callback\n"
    assert "from a callback" not in screen.getvalue()


def test_standard_streams_and_cursor_are_given_back_when_the_work_fails() -> None:
    before = sys.stdout
    with seen_on(Terminal()) as screen:
        with pytest.raises(RuntimeError, match="stop"), Console("auto").bar("reading", 10, "images") as bar:
            bar.advance()
            raise RuntimeError("stop")
        assert sys.stderr is screen
    assert sys.stdout is before
    text = screen.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor shows again


def test_a_second_bar_shows_after_the_first() -> None:
    with seen_on(Terminal()) as screen:
        work("auto", 3)
        work("auto", 7)
    assert "3/3" in screen.getvalue()
    assert "7/7" in screen.getvalue()


@pytest.mark.parametrize(("verbose", "level"), [("auto", 1), (0, 0), (1, 1), (2, 2), (True, 1), (False, 0)])
def test_verbose_is_auto_or_a_level(verbose: object, level: int) -> None:
    assert Console(verbose).level == level


@pytest.mark.parametrize("value", [3, -1, "loud", "", None, 1.0])
def test_another_verbose_is_refused(value: object) -> None:
    with refused(InvalidInputError, f"`verbose={value!r}`", "'auto', 0, 1 or 2", "Pass verbose=0"):
        Console(value)


@pytest.mark.parametrize("stream", [None, object()], ids=["none", "an object of the program"])
def test_a_program_without_a_console_can_work(stream: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", None)
    for verbose in (0, 1):
        work(verbose)
        Console(verbose).say("hello")
