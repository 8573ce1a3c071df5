"""Marks a class or a function as public: it shows the path that users import it from."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T", bound=Any)


def public(thing: T) -> T:
    """Set ``__module__`` to ``"transferkit"``, for tracebacks, `repr` and pickles."""
    thing.__module__ = "transferkit"
    return thing
