"""Marks a class or a function as public: it shows the path that users import it from, in tracebacks and pickles."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T", bound=Any)


def public(thing: T) -> T:
    """Imported from ``transferkit``."""
    thing.__module__ = "transferkit"
    return thing


def public_in_room(thing: T) -> T:
    """Imported from the room of its module, such as ``transferkit.results``."""
    thing.__module__ = thing.__module__.rpartition(".")[0]
    return thing
