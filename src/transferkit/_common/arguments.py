"""Checks of plain arguments: numbers and choices."""

from __future__ import annotations

import numbers
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from ..errors import bad_argument, some_of

LARGEST = 10_000  # pixels of a side

LabelKind: TypeAlias = Literal["auto", "single", "multiple"]
OnBadImage: TypeAlias = Literal["raise", "skip"]
Resize: TypeAlias = Literal["squash", "crop", "pad"]


def check_count(name: str, value: object, *, minimum: int = 1, example: int = 5) -> int:
    """A whole number of `minimum` or more (bool is not one)."""
    number: Any = value
    if not is_whole(value) or number < minimum:
        rule = f"must be a whole number of {minimum} or more"
        raise bad_argument(name, value, rule, f"Pass for example {name}={example}")
    return int(number)


def check_number(
    name: str, value: object, *, low: float, high: float, example: float, open_low: bool = False, closed: bool = False
) -> float:
    """A real number in [low, high); `open_low` excludes `low`, and `closed` includes `high`."""
    number: Any = value
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not low <= number <= high or (open_low and number == low) or (number == high and not closed):
        limit = "" if high == float("inf") else f" and {'at most' if closed else 'below'} {high:g}"
        rule = f"must be a number {'above' if open_low else 'of at least'} {low:g}{limit}"
        raise bad_argument(name, value, rule, f"Pass for example {name}={example:g}")
    return float(number)


def check_parent(name: str, path: Path) -> None:
    """Refuse a path whose folder does not exist."""
    if not path.parent.is_dir():
        raise bad_argument(name, str(path), "is in a folder that does not exist", "Make the folder first")


def check_share(name: str, value: object, example: float = 0.9) -> float:
    """A real number from 0 to 1."""
    return check_number(name, value, low=0, high=1, example=example, closed=True)


def check_seed(value: object) -> int | None:
    """None, or a whole number from 0 to 2**32 - 1 (what Keras's seed generators take)."""
    if value is None:
        return None
    seed = check_count("seed", value, minimum=0, example=0)
    if seed >= 2**32:
        raise bad_argument("seed", value, "must be below 2**32", "Pass for example seed=0")
    return seed


def check_size(value: object, name: str = "input_size") -> tuple[int, int] | None:
    """None, an int for a square, or (height, width) in pixels -> (height, width)."""
    if value is None:
        return None
    sides = tuple(value) if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else (value, value)
    if len(sides) != 2 or not all(is_whole(side) and side > 0 for side in sides):
        rule = "must be None, a number of pixels or (height, width) in pixels"
        raise bad_argument(name, value, rule, f"Pass for example {name}=224")
    if max(sides) > LARGEST:
        raise bad_argument(name, value, f"must be at most {LARGEST} pixels", f"Pass for example {name}=224")
    return int(sides[0]), int(sides[1])


def check_choice(name: str, value: Any, choices: Any, remedy: str) -> Any:
    """One of the values of a Literal."""
    if not isinstance(value, Hashable) or value not in get_args(choices):
        raise bad_argument(name, value, f"must be one of {some_of(get_args(choices))}", remedy)
    return value


def check_resize(value: object) -> Resize:
    """How images of another aspect ratio than the network's input are resized."""
    choice: Resize = check_choice("resize", value, Resize, "Pass for example resize='crop'")
    return choice


def check_views(value: object) -> int:
    """How many views of each image are predicted: 1 or 2."""
    if not is_whole(value) or value not in (1, 2):
        rule = "must be 1 (the image only) or 2 (also its mirror image)"
        raise bad_argument("views", value, rule, "Pass views=2, or leave it out")
    return 1 if value == 1 else 2


def is_whole(value: object) -> bool:
    """Whether this is a whole number, of Python or NumPy, and not a bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_on_bad_image(value: object) -> bool:
    """Whether images that cannot be read are left out: "raise" or "skip"."""
    return bool(check_choice("on_bad_image", value, OnBadImage, "Pass on_bad_image='skip'") == "skip")
