"""Labels: every form that users write, there and back, and what is refused."""

from __future__ import annotations

import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from drawing import picture
from helpers import refused, steady
from hypothesis import given
from hypothesis import strategies as st

import transferkit as tk
from transferkit.errors import InvalidInputError
from transferkit.images.labels import check_class_weight, class_names, class_weights, encode, label_array

NAMES = st.text("abAB01 _-.'\"äñ猫🐈", max_size=8).filter(str.strip)
LABELS = st.one_of(
    st.lists(NAMES, min_size=2),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2),
    st.lists(st.booleans(), min_size=2),
).filter(lambda labels: len(set(labels)) > 1)


@steady
@given(LABELS)
def test_labels_come_back_from_their_codes_with_their_type(labels: list) -> None:
    raw = label_array(labels, len(labels))
    classes = class_names(raw)
    codes = encode(raw, classes)
    assert classes[codes].tolist() == labels
    assert classes.tolist() == sorted(set(labels))
    assert type(classes[codes].tolist()[0]) is type(labels[0])
    assert codes.dtype == np.int64


@steady
@given(LABELS, st.randoms(use_true_random=False))
def test_codes_do_not_depend_on_the_order_of_the_classes(labels: list, random) -> None:
    raw = label_array(labels, len(labels))
    order = list(range(len(class_names(raw))))
    random.shuffle(order)
    classes = class_names(raw)[order]
    assert classes[encode(raw, classes)].tolist() == labels


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (("a", "b"), ["a", "b"]),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array(["a", "b"], object), ["a", "b"]),
        (np.array([b"a", b"b"]), ["a", "b"]),
        ([b"a", b"\xc3\xa4"], ["a", "ä"]),
        (pd.Series(["a", "b"]), ["a", "b"]),
        (pd.Series(["a", "b"], dtype="string"), ["a", "b"]),
        (pd.Categorical(["a", "b"]), ["a", "b"]),
        ([np.str_("a"), "b"], ["a", "b"]),
        ([3, np.int8(4)], [3, 4]),
        (np.array([3, 4], np.uint8), [3, 4]),
        (np.array([3.0, 4.0]), [3, 4]),
        ([True, np.False_], [True, False]),
        (np.array([[3], [4]]), [3, 4]),
        (np.array([["a"], ["b"]]), ["a", "b"]),
        ([[0, 0, 1], [0, 1, 0]], [2, 1]),
        (np.array([[0.0, 1.0], [1.0, 0.0]], np.float32), [1, 0]),
    ],
)
def test_every_common_form_of_labels_is_understood(labels: object, expected: list) -> None:
    array = label_array(labels, 2)
    assert array.tolist() == expected
    assert array.dtype.kind in "Uib"


@pytest.mark.parametrize(
    ("label", "fault"),
    [("\udcff", r"'\udcff' is not UTF-8"), (b"\xff", "is not UTF-8"), ("cat\n", r"'cat\n' holds a line break")],
)
def test_text_that_cannot_be_a_class_name_is_refused(label: object, fault: str) -> None:
    with refused(InvalidInputError, "The label", fault, "one line of text"):
        tk.TransferClassifier("TransferKitTiny").fit(np.zeros((2, 8, 8, 3)), [label, type(label)()])


@pytest.mark.thorough
def test_text_in_two_unicode_forms_is_one_class() -> None:
    pixels, names = (
        np.stack([picture(seed) for seed in range(5)]),
        ["caf\u00e9", "bar", "cafe\u0301", "\u0958", "\u0915\u093c"],
    )
    clf = tk.TransferClassifier("TransferKitTiny", weights=None)
    clf.fit(pixels, names, validation=0, epochs=1, class_weight={"cafe\u0301": 2.0}, verbose=0)
    assert clf.classes_.tolist() == ["bar", "caf\u00e9", "\u0915\u093c"]
    assert clf.evaluate(pixels, names, verbose=0).confusion_matrix.sum(axis=1).tolist() == [1, 2, 2]


def test_labels_are_not_changed() -> None:
    labels = np.array([[0.0, 1.0], [1.0, 0.0]])
    labels.setflags(write=False)
    assert label_array(labels, 2).tolist() == [1, 0]


@pytest.mark.parametrize("labels", ["cats", 3, None, {"a": 1}])
def test_one_label_for_all_images_is_refused(labels: object) -> None:
    with refused(InvalidInputError, f"`labels={labels!r}`", "one label per image", "Pass a list"):
        label_array(labels, 4)


@pytest.mark.parametrize("labels", [["a", "b"], [], np.zeros((3, 2))])
def test_labels_of_another_length_are_refused_with_both_counts(labels) -> None:
    with refused(InvalidInputError, f"{len(labels)} labels were given for 5 images", "Check the two lists"):
        label_array(labels, 5)


@pytest.mark.parametrize(
    "labels", [["a", None], np.array(["a", np.nan], object), [1, None], [None, None], pd.Series(["a", None])]
)
def test_missing_labels_are_refused_with_their_place(labels: object) -> None:
    with refused(InvalidInputError, "labels at 1" if labels[0] else "labels at 0, 1", "missing", "drop the images"):
        label_array(labels, 2)


def test_a_missing_label_does_not_become_a_class_called_nan() -> None:
    with refused(InvalidInputError, "labels at 1", "missing"):
        label_array(["cat", float("nan"), "dog"], 3)


def test_a_missing_label_of_a_pandas_text_column_is_refused() -> None:
    column = pd.Series(["cat", None, "dog"], dtype="string")
    with refused(InvalidInputError, "labels at 1", "missing"):
        label_array(list(column), 3)


@pytest.mark.parametrize("labels", [["cat", 1], [1, "cat"], ["cat", True], ["cat", 1.0]])
@pytest.mark.parametrize("as_array", [False, True], ids=["list", "array"])
def test_labels_of_mixed_types_are_refused(labels: list, as_array: bool) -> None:
    with refused(InvalidInputError, "mix types", "'cat'", repr(labels[0]), "Convert them to one type"):
        label_array(np.array(labels, object) if as_array else labels, 2)


@pytest.mark.parametrize("value", [0.5, float("inf")])
def test_a_number_that_is_not_whole_is_refused_with_its_place(value: float) -> None:
    with refused(InvalidInputError, f"label at 1 is {value!r}", "whole numbers", "convert the values"):
        label_array([1.0, value], 2)


@pytest.mark.parametrize(
    "value", [np.uint64(2**64 - 1), 2**63, -(2**63) - 1, 10**30, 10**400, 1e300, np.float32(-1e30)]
)
@pytest.mark.parametrize("kind", [list, np.array, lambda labels: np.array([*labels, 0], object)[:2]])
def test_a_number_that_does_not_fit_into_64_bits_is_refused(value: float, kind) -> None:
    with refused(InvalidInputError, "The label at 1 is ", str(value)[0], "2**63", "as text"):
        label_array(kind([value - value, value]), 2)


def test_the_largest_and_smallest_whole_numbers_are_taken() -> None:
    labels = [-(2**63), 2**63 - 1]
    assert label_array(labels, 2).tolist() == label_array(np.array(labels, object), 2).tolist() == labels
    assert label_array(np.array(labels[1:], np.uint64), 1).tolist() == labels[1:]


@pytest.mark.parametrize("value", [Decimal(1), Fraction(1, 2)])
def test_a_decimal_is_refused_by_its_type(value: object) -> None:
    with refused(InvalidInputError, "have the type", type(value).__name__, "Convert them to one type"):
        label_array([value, value], 2)


@pytest.mark.parametrize(
    "labels", [[1j, 2j], np.array(["2020-01-01", "2020-01-02"], "M8[D]"), [datetime.date(2020, 1, 1)] * 2]
)
def test_labels_of_other_types_are_refused(labels: object) -> None:
    with refused(InvalidInputError, "labels", "text, ", "Convert them"):
        label_array(labels, 2)


@pytest.mark.parametrize(
    "labels",
    [[[1, 1], [0, 1]], [[0, 0], [0, 1]], [[0.5, 0.5], [0, 1]], [["a", "b"], ["c", "d"]], np.zeros((2, 2, 1))],
)
def test_rows_that_are_not_one_hot_are_refused(labels: object) -> None:
    with refused(InvalidInputError, f"shape {np.shape(labels)}", "one-hot", "shape (2,)"):
        label_array(labels, 2)


def test_ragged_labels_are_refused() -> None:
    with refused(InvalidInputError, "label"):
        label_array([[1], [1, 2]], 2)


@pytest.mark.parametrize(
    ("raw", "found"), [(["cat", "cat"], "only the class 'cat'"), ([1, 1], "only the class 1"), ([], "no classes")]
)
def test_fewer_than_two_classes_are_refused(raw: list, found: str) -> None:
    with refused(InvalidInputError, found, "two classes or more", "Add a second class"):
        class_names(label_array(raw, len(raw)))


def test_two_classes_of_one_name_are_refused() -> None:
    with refused(InvalidInputError, "'3' more than once"):
        class_names(np.array([0, 1, 2]), [3, 7, "3"])


def test_given_names_keep_their_order() -> None:
    assert class_names(np.array([0, 1]), ["b", "a"]).tolist() == ["b", "a"]


def test_an_unknown_class_is_named_with_the_nearest_known_one() -> None:
    with refused(InvalidInputError, "The test data holds the class 'catz'", "did you mean 'cats'?", "'dogs'", "Rename"):
        encode(np.array(["dogs", "catz"]), np.array(["cats", "dogs"]), "test data")


@pytest.mark.parametrize("unknown", ["", "zebra", "zzzz"])
def test_an_unknown_class_like_no_other_gets_no_suggestion(unknown: str) -> None:
    with refused(InvalidInputError, repr(unknown), "its classes are 'cats', 'dogs'") as caught:
        encode(np.array([unknown]), np.array(["cats", "dogs"]))
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "classes", "parts"),
    [
        ([1, 2], ["1", "2"], ("are whole numbers", "training data text", "'1', '2'")),
        (["1", "2"], [1, 2], ("are text", "training data whole numbers", "1, 2")),
        ([0, 1], [False, True], ("are whole numbers", "training data booleans", "False, True")),
    ],
)
def test_labels_of_another_type_than_the_classes_are_refused(raw: list, classes: list, parts: tuple[str, ...]) -> None:
    with refused(InvalidInputError, "The validation data"[4:], *parts):
        encode(np.array(raw), np.array(classes), "validation data")


def test_no_labels_have_no_codes() -> None:
    assert encode(np.array([], dtype=str), np.array([1, 2])).tolist() == []


def test_without_class_weights_every_class_weighs_one() -> None:
    assert class_weights(None, np.array([0, 1]), np.array(["a", "b"])).tolist() == [1, 1]


@steady
@given(st.lists(st.integers(0, 3), min_size=1))
def test_balanced_weights_are_those_of_scikit_learn(codes: list[int]) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    present = np.unique(codes)
    weights = class_weights("balanced", np.array(codes), np.array(["a", "b", "c", "d"]))
    known = compute_class_weight("balanced", classes=present, y=codes) * len(present) / 4
    np.testing.assert_allclose(weights[present], known, rtol=1e-6)
    assert weights.dtype == np.float32


def test_a_dict_weighs_the_classes_it_names() -> None:
    weights = class_weights({"b": 2.5, "a": 0}, np.array([0, 1, 2]), np.array(["a", "b", "c"]))
    assert weights.tolist() == [0, 2.5, 1]


@pytest.mark.parametrize("choice", ["balance", [1, 2], 2.0, True])
def test_another_kind_of_class_weight_is_refused(choice: object) -> None:
    with refused(InvalidInputError, f"`class_weight={choice!r}`", "'balanced' or a dict", "Pass class_weight="):
        check_class_weight(choice, np.array(["a", "b"]))


def test_a_class_weight_of_an_unknown_class_is_refused() -> None:
    with refused(InvalidInputError, "`class_weight` names the class 'c'", "'a', 'b'", "Use those names"):
        check_class_weight({"c": 1}, np.array(["a", "b"]))


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), "2", True, None])
def test_a_class_weight_that_is_no_weight_is_refused(weight: object) -> None:
    with refused(
        InvalidInputError, f"`class_weight['a']={weight!r}`", "finite number of 0 or more", "Pass for example"
    ):
        check_class_weight({"a": weight}, np.array(["a", "b"]))


@pytest.mark.parametrize("text", ["['daisy', 'red']", "('daisy',)", "[]", '["a"]'])
def test_the_text_of_a_list_is_not_a_label(text: str) -> None:
    with refused(InvalidInputError, "is the text of a list", "ast.literal_eval"):
        label_array([text, "rose"], 2)
    assert label_array(["[x]", "a (b)"], 2).tolist() == ["[x]", "a (b)"]


def test_a_dataset_without_its_class_names_is_told_how_to_get_them() -> None:
    with refused(InvalidInputError, "as its attribute `class_names`"):
        encode(np.array([0, 1]), np.array(["a", "b"]))


def test_two_images_are_not_taken_for_images_and_labels() -> None:
    with refused(InvalidInputError, "has no labels: a tuple must come with"):
        tk.TransferClassifier("TransferKitTiny").fit(("a.jpg", "b.jpg"))
