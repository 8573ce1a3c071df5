"""Settings of the whole process that several threads may need at once, and that must come back in the end."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController


class Shared:
    """A context that any number of threads may be in: it is entered by the first one, and left by the last."""

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make, self._lock, self._inside = make, threading.Lock(), 0
        self._context: AbstractContextManager[Any] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._context = self._make()
                self._context.__enter__()
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._context is not None:
                self._context.__exit__(None, None, None)


@functools.cache
def _pools() -> ThreadpoolController:
    """The thread pools of NumPy and scikit-learn; finding them takes as long as solving for a small head."""
    return ThreadpoolController()


_solving = threading.Lock()
_filters = Shared(warnings.catch_warnings)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let NumPy and scikit-learn use one thread: more would compete with TensorFlow's threads.

    Only one caller is inside at a time: threadpoolctl restores the limit that it found, which must not be another
    caller's.
    """
    with _solving, _pools().limit(limits=1):
        yield


@contextmanager
def ignoring(**kind: Any) -> Iterator[None]:
    """Ignore warnings of a kind, described as for `warnings.filterwarnings`.

    Two threads in `warnings.catch_warnings` would restore the filters of each other, some of them for good.
    """
    with _filters:
        warnings.filterwarnings("ignore", **kind)
        yield


def copying_variables() -> AbstractContextManager[None]:
    """Ignore that TensorFlow 2.21's variables have not followed NumPy 2's protocol; users may make warnings errors."""
    return ignoring(message="__array__ implementation", category=DeprecationWarning)
