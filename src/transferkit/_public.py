"""Marks classes and functions as public: tracebacks and pickles show the path that users import them from."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T", bound=Any)


def public(thing: T) -> T:
    """Mark as imported from ``transferkit``."""
    thing.__module__ = "transferkit"
    return thing


def public_in_room(thing: T) -> T:
    """Mark as imported from the package of its module, such as ``transferkit.results``."""
    thing.__module__ = thing.__module__.rpartition(".")[0]
    return thing
