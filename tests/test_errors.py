"""The exception tree, and the wording that all errors share."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest
from helpers import steady
from hypothesis import given
from hypothesis import strategies as st

from transferkit import errors
from transferkit.errors import (
    ImageReadError,
    MissingExtraError,
    TransferKitError,
    bad_argument,
    first_line,
    shown,
    some_of,
)

TREE = {
    "InvalidInputError": ValueError,
    "UnknownBackboneError": ValueError,
    "ImageReadError": ValueError,
    "WeightsError": RuntimeError,
    "NotFittedError": RuntimeError,
    "TrainingError": RuntimeError,
    "BundleError": RuntimeError,
    "ExportError": RuntimeError,
    "MissingExtraError": ImportError,
}


@pytest.mark.parametrize(("name", "builtin"), TREE.items())
def test_each_error_is_one_of_transferkit_and_one_of_python(name: str, builtin: type[Exception]) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, TransferKitError)
    assert issubclass(kind, builtin)


def test_the_tree_holds_every_error_and_is_drawn_in_the_docstring() -> None:
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, TransferKitError)]
    assert {kind.__name__ for kind in kinds} == {"TransferKitError", *TREE}
    for kind in kinds:
        assert kind.__name__ in errors.__all__
        bases = [base.__name__ for base in kind.__bases__ if base is not TransferKitError]
        drawn = kind.__name__ if kind is TransferKitError else f"{kind.__name__}({', '.join(bases)})"
        assert drawn in (errors.__doc__ or "")


def test_an_image_read_error_keeps_its_own_copy_of_the_failures() -> None:
    failures = {"a.jpg": "empty"}
    error = ImageReadError("message", failures)
    failures.clear()
    assert error.failures == {"a.jpg": "empty"}
    assert ImageReadError("message").failures == {}


def test_a_missing_extra_names_the_purpose_and_the_command() -> None:
    message = str(MissingExtraError("Drawing", "plot"))
    assert message == "Drawing needs an optional package: install it with pip install 'transferkit[plot]'."


@pytest.mark.parametrize(
    "error", [errors.InvalidInputError("a"), ImageReadError("a", {"b": "c"}), MissingExtraError("Drawing", "plot")]
)
@pytest.mark.parametrize("way", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))], ids=["copy", "pickle"])
def test_an_error_comes_whole_out_of_another_process(error: TransferKitError, way) -> None:
    twin = way(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert getattr(twin, "failures", None) == getattr(error, "failures", None)


def test_a_bad_argument_says_what_was_given_the_rule_and_the_remedy() -> None:
    error = bad_argument("epochs", 0, "must be a whole number of 1 or more", "Pass epochs=5")
    assert type(error) is errors.InvalidInputError
    assert str(error) == "`epochs=0` must be a whole number of 1 or more. Pass epochs=5."


@steady
@given(st.one_of(st.text("ab'\"\n猫 "), st.lists(st.integers())), st.integers(4, 80))
def test_shown_fits_the_limit_and_starts_as_the_value_does(value: object, limit: int) -> None:
    text = shown(value, limit)
    assert len(text) <= limit
    assert text == repr(value) if len(repr(value)) <= limit else text.endswith("...")
    assert repr(value).startswith(text.removesuffix("..."))


@pytest.mark.parametrize(
    ("values", "text"),
    [([], ""), (["a"], "'a'"), (["a", "b"], "'a', 'b'"), (range(7), "0, 1, 2, 3, 4 and 2 more")],
)
def test_some_of_names_the_first_and_counts_the_rest(values, text: str) -> None:
    assert some_of(values) == text


@pytest.mark.parametrize(
    ("message", "line"),
    [("It broke.\nSee the manual.", "It broke"), ("", "ValueError"), ("x" * 60_000, "x" * 297 + "...")],
)
def test_the_first_line_of_an_error_can_be_quoted(message: str, line: str) -> None:
    assert first_line(ValueError(message)) == line
