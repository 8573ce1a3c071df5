"""Work on threads: in order, not far ahead, and gone when it is done."""

from __future__ import annotations

import threading
import time

import pytest

from transferkit.features.reader import in_background


def test_work_in_the_background_comes_out_in_order() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number**2

    assert list(in_background(work, range(30), 4, 8)) == [n**2 for n in range(30)]


def test_work_in_the_background_does_not_run_far_ahead() -> None:
    started: list[int] = []
    results = in_background(started.append, range(100), 2, 5)
    next(results)
    time.sleep(0.05)
    assert len(started) <= 6
    results.close()  # type: ignore[attr-defined]
    assert len(started) <= 6


def test_an_error_in_the_background_comes_out_in_its_place() -> None:
    results = in_background(lambda n: 1 // n, [1, 0, 1], 2, 4)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_background_threads_end_with_the_work() -> None:
    list(in_background(abs, range(10), 3, 3))
    assert not [t for t in threading.enumerate() if t.name.startswith("transferkit-decode")]


def test_work_that_nobody_waits_for_any_more_is_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        time.sleep(0.01)

    results = in_background(work, range(1000), 2, 20)
    next(results)
    results.close()  # type: ignore[attr-defined]
    count = len(begun)
    time.sleep(0.05)
    assert len(begun) == count <= 22
    assert not [t for t in threading.enumerate() if t.name.startswith("transferkit-decode")]


def test_what_is_to_be_done_is_asked_for_only_as_it_is_needed() -> None:
    asked: list[int] = []

    def numbers():
        for number in range(100):
            asked.append(number)
            yield number

    results = in_background(abs, numbers(), 2, 3)
    assert next(results) == 0
    assert asked == [0, 1, 2, 3]
    results.close()  # type: ignore[attr-defined]
