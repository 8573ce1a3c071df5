"""Every exception that transferkit raises on purpose.

::

    TransferKitError
    ├── InvalidInputError(ValueError)      an argument, a folder, an array or labels break a rule
    ├── UnknownBackboneError(ValueError)   no backbone of this name is registered
    ├── ImageReadError(ValueError)         one or more image files cannot be read; ``.failures`` names them
    ├── WeightsError(RuntimeError)         weights cannot be found or downloaded, or do not fit the backbone
    ├── NotFittedError(RuntimeError, AttributeError)
    │                                      a method, or a result such as ``history_``, was asked for before fit
    ├── TrainingError(RuntimeError)        the loss is NaN, infinite or far too large; ``.images`` names the batch
    ├── BundleError(RuntimeError)          a file is not a complete, undamaged saved classifier, or cannot be written
    ├── ExportError(RuntimeError)          an exported file cannot be written, or differs from the classifier
    └── MissingExtraError(ImportError)     an optional package is not installed; gives the command to install it

A message has three parts: what was given, the rule, and the remedy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import ModuleType

from ._public import public

__all__ = [
    "BundleError", "ExportError", "ImageReadError", "InvalidInputError", "MissingExtraError", "NotFittedError",
    "TrainingError", "TransferKitError", "UnknownBackboneError", "WeightsError",
    "bad_argument", "first_line", "import_extra", "shown", "shown_url", "some_of",
]  # fmt: skip


@public
class TransferKitError(Exception):
    """The base class of all transferkit errors."""


@public
class InvalidInputError(TransferKitError, ValueError):
    """An argument, a folder, an array or labels break a rule."""


@public
class UnknownBackboneError(TransferKitError, ValueError):
    """No backbone of this name is registered."""


@public
class ImageReadError(TransferKitError, ValueError):
    """One or more images cannot be read.

    Attributes:
        failures: path -> reason, in the order of the data.
        kinds: path -> the kind of fault: ``"unreadable"``, ``"truncated"``, ``"not an image"``,
            ``"empty file"``, ``"huge"`` or ``"not a regular file"``.
    """

    def __init__(
        self, message: str, failures: Mapping[str, str] | None = None, kinds: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.failures: dict[str, str] = dict(failures or {})
        self.kinds: dict[str, str] = dict.fromkeys(self.failures, "unreadable") | dict(kinds or {})


@public
class WeightsError(TransferKitError, RuntimeError):
    """Weights cannot be found, downloaded or read, or do not fit the backbone."""


@public
class NotFittedError(TransferKitError, RuntimeError, AttributeError):
    """The classifier has not been fitted yet."""


@public
class TrainingError(TransferKitError, RuntimeError):
    """Training gave NaN, infinity, or a loss far too large to learn from; the classifier stays as it was.

    Attributes:
        images: the names of the images in the batch where it happened, or of the validation images; empty if unknown.
    """

    def __init__(self, message: str, images: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.images: list[str] = list(images)


@public
class BundleError(TransferKitError, RuntimeError):
    """A file is damaged, is not a transferkit classifier, needs something that is missing, or cannot be written."""


@public
class ExportError(TransferKitError, RuntimeError):
    """A classifier cannot be converted, or the file gives other probabilities or cannot be written."""


@public
class MissingExtraError(TransferKitError, ImportError):
    """An optional package is not installed."""

    def __init__(self, purpose: str, extra: str, package: str = "") -> None:
        super().__init__(purpose, extra, package)  # copies and pickles are built from these

    def __str__(self) -> str:
        purpose, extra, package = self.args
        package = package or f"'transferkit[{extra}]'"
        return f"{purpose} needs an optional package: install it with pip install {package}."


def import_extra(module: str, purpose: str, extra: str) -> ModuleType:
    """Import an optional package, or raise an error with the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(purpose, extra) from error


def shown_url(text: str) -> str:
    """A text without the user names, passwords and queries of its URLs, which may contain secrets.

    In a bucket or on a disk, a question mark is part of a name.

    >>> shown_url("https://me:secret@example.org/a.jpg?signature=5")
    'https://example.org/a.jpg'
    """
    scheme = r"([A-Za-z][A-Za-z0-9+.-]+://"
    has_query = rf"(?<![\w+.-])(?!(?:s3a?|gc?s|memory|file|local):){scheme}[^?\s]*)\?\S*"
    return re.sub(rf"{scheme})[^/\s]*@", r"\1", re.sub(has_query, r"\1", text))


def shown(value: object, limit: int = 60) -> str:
    """`repr` of a value, cut to fit in a sentence."""
    text = shown_url(repr(value))
    return text if len(text) <= limit else text[: limit - 3] + "..."


def first_line(error: Exception) -> str:
    """The first line of an error's message, to quote it in a sentence; the name of its class if it has none.

    Cut to 300 characters: messages of other packages may quote any amount of a file.
    """
    line = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".: ")
    return line if len(line) <= 300 else line[:297] + "..."


def some_of(values: Iterable[object], limit: int = 5) -> str:
    """The first few values in words, and how many more there are.

    >>> some_of(["a", "b", "c"], limit=2)
    "'a', 'b' and 1 more"
    """
    items = list(values)
    text = ", ".join(shown(item, 200) for item in items[:limit])
    return text if len(items) <= limit else f"{text} and {len(items) - limit} more"


def bad_argument(name: str, value: object, rule: str, remedy: str) -> InvalidInputError:
    """The error for a bad argument: what was given, the rule, the remedy.

    >>> str(bad_argument("epochs", 0, "must be a whole number of 1 or more", "Pass epochs=5"))
    '`epochs=0` must be a whole number of 1 or more. Pass epochs=5.'
    """
    return InvalidInputError(f"`{name}={shown(value)}` {rule}. {remedy}.")
