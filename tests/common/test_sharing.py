"""Settings of the process that several threads change at once are restored when the last one is done."""

from __future__ import annotations

import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from transferkit._common.sharing import ignoring, one_thread


def overlapping(first: AbstractContextManager[None], second: AbstractContextManager[None]) -> None:
    """Enter `first`, then `second` in another thread, then leave `first` and at last `second`."""
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with second:
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    with first:
        thread.start()
        inside.wait(10)
    leave.set()
    thread.join()


def test_filters_come_back_though_threads_overlap() -> None:
    before = list(warnings.filters)
    overlapping(ignoring(module=r"first\."), ignoring(module=r"second\."))
    assert warnings.filters == before


def test_only_the_named_warnings_are_ignored() -> None:
    with ignoring(category=RuntimeWarning), pytest.warns(UserWarning, match="ours"):
        warnings.warn("ours", stacklevel=1)
        warnings.warn("theirs", RuntimeWarning, stacklevel=1)


def test_thread_pools_come_back_after_several_threads() -> None:
    np.ones((4, 4)) @ np.ones((4, 4))  # loads the library

    def sizes() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info()]

    def limited(_: int) -> None:
        with one_thread():
            time.sleep(0.05)

    before = sizes()
    with one_thread():
        assert set(sizes()) == {1}
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(limited, range(3)))
    assert sizes() == before
