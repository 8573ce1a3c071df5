"""The division into training and validation images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from drawing import class_folder, write_png
from helpers import refused, steady
from hypothesis import example, given
from hypothesis import strategies as st

import transferkit as tk
from transferkit.errors import InvalidInputError
from transferkit.images.reading import read_labelled
from transferkit.images.splits import Split, TrainingData, read_training_data, stratified_split, validation_share

COUNTS = st.lists(st.integers(1, 30), min_size=1, max_size=6).filter(lambda counts: max(counts) > 1)
FRACTIONS = st.floats(0.01, 0.95)
SEEDS = st.integers(0, 2**32 - 1)


def data_of(counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    codes = np.repeat(np.arange(len(counts)), counts)
    return codes, np.arange(len(codes))


def held_out_images(codes: np.ndarray, images: np.ndarray, fraction: float, seed: int) -> set[int]:
    return set(images[stratified_split(codes, images, fraction, seed)[1]].tolist())


@steady
@given(COUNTS, FRACTIONS, SEEDS)
def test_a_split_is_disjoint_and_complete_and_leaves_each_class_an_image(counts, fraction, seed) -> None:
    codes, images = data_of(counts)
    training, validation = stratified_split(codes, images, fraction, seed)
    assert sorted([*training, *validation]) == list(range(len(codes)))
    assert set(codes[training]) == set(codes)
    assert len(validation) > 0
    assert training.tolist() == sorted(training)
    assert validation.tolist() == sorted(validation)


@steady
@given(COUNTS, FRACTIONS, SEEDS)
@example([100, *[1] * 10], 0.5, 0)
@example([100, *[2] * 10], 0.9, 0)
def test_each_class_is_held_out_in_proportion_to_within_an_image(counts, fraction, seed) -> None:
    codes, images = data_of(counts)
    held_out = np.bincount(codes[stratified_split(codes, images, fraction, seed)[1]], minlength=len(counts))
    for count, held in zip(counts, held_out, strict=True):
        share = count * fraction
        assert min(share, count - 1) - 1 <= held <= share + 1


@steady
@given(st.lists(st.integers(4, 40), min_size=1, max_size=6), st.floats(0.02, 0.7), SEEDS)
def test_the_number_held_out_is_the_share_of_all_rounded(counts, fraction, seed) -> None:
    codes, images = data_of(counts)
    share = sum(counts) * fraction
    assert abs(len(stratified_split(codes, images, fraction, seed)[1]) - max(1, share)) <= 0.5 + 1e-9


@steady
@given(COUNTS, FRACTIONS, SEEDS, st.randoms(use_true_random=False))
def test_a_split_does_not_depend_on_the_order_of_listing(counts, fraction, seed, random) -> None:
    codes, images = data_of(counts)
    order = list(range(len(codes)))
    random.shuffle(order)
    shuffled = held_out_images(codes[order], images[order], fraction, seed)
    assert shuffled == held_out_images(codes, images, fraction, seed)


@steady
@given(COUNTS, FRACTIONS, SEEDS)
def test_the_same_seed_gives_the_same_split(counts, fraction, seed) -> None:
    codes, images = data_of(counts)
    first, second = (stratified_split(codes, images, fraction, seed) for _ in range(2))
    assert [part.tolist() for part in first] == [part.tolist() for part in second]


def test_other_seeds_give_other_splits() -> None:
    codes, images = data_of([50, 50])
    splits = {frozenset(held_out_images(codes, images, 0.2, seed)) for seed in range(10)}
    assert len(splits) == 10


def test_the_seed_decides_which_of_equally_small_classes_are_held_out(tmp_path: Path) -> None:
    data = read_training_data(read_labelled(class_folder(tmp_path, dict.fromkeys("abcdefghij", 3))), 0.15)
    held_out = [split(data, seed=seed).validation for seed in range(20)]
    chosen = [frozenset(part.codes.tolist()) for part in held_out if part is not None]
    assert {len(codes) for codes in chosen} == {5}
    assert len(set(chosen)) > 10
    assert frozenset.union(*chosen) == set(range(10))


def test_equal_shares_of_classes_of_different_sizes_are_a_tie() -> None:
    chosen = {frozenset(held_out_images(*data_of([3, 13]), 0.1, seed)) for seed in range(20)}
    assert {sum(image < 3 for image in images) for images in chosen} == {0, 1}


def test_classes_are_drawn_independently_of_each_other() -> None:
    codes, images = data_of([50, 50])
    held_out = stratified_split(codes, images, 0.2, 0)[1]
    assert [i % 50 for i in held_out if i < 50] != [i % 50 for i in held_out if i >= 50]


@steady
@given(st.lists(st.integers(0, 12), min_size=2, max_size=40).filter(lambda n: len(set(n)) > 1), FRACTIONS, SEEDS)
def test_one_file_that_is_listed_twice_falls_on_one_side(numbers, fraction, seed) -> None:
    training, validation = stratified_split(np.zeros(len(numbers), int), np.array(numbers), fraction, seed)
    assert not {numbers[i] for i in training} & {numbers[i] for i in validation}


@pytest.mark.parametrize("counts", [[1], [1, 1, 1]])
def test_classes_of_one_image_each_cannot_be_divided(counts: list[int]) -> None:
    with refused(InvalidInputError, f"A share of 0.5 of {len(counts)} images", "Pass validation=None"):
        stratified_split(*data_of(counts), 0.5, 0)


def test_a_class_that_has_no_image_is_let_pass() -> None:
    training, validation = stratified_split(np.array([0, 0, 2, 2]), np.arange(4), 0.5, 0)
    assert (len(training), len(validation)) == (2, 2)


@pytest.mark.parametrize(
    ("value", "share"), [(None, 0), (False, 0), (0, 0), (0.0, 0), (0.2, 0.2), (np.float64(0.2), 0.2)]
)
def test_a_share_is_a_fraction_or_none(value: object, share: float) -> None:
    assert validation_share(value) == share


@pytest.mark.parametrize("value", [1, 1.5, -0.1, True, float("nan")])
def test_another_number_is_no_share(value: object) -> None:
    with refused(InvalidInputError, f"`validation={value!r}`", "at least 0 and below 1", "validation=0.15"):
        validation_share(value)


@pytest.mark.parametrize("value", ["photos/val", (["a.jpg"], ["cats"]), np.zeros((2, 4, 4, 3))])
def test_data_is_no_share(value: object) -> None:
    assert validation_share(value) is None


def keys_of(contents: Sequence[int]) -> npt.NDArray[np.uint8]:
    """What stands for the contents of images."""
    return np.array(contents, ">u8").view(np.uint8).reshape(-1, 8)


def split(data: TrainingData, contents: Sequence[int] | None = None, seed: int = 0) -> Split:
    count = len(data.all_images)
    keys = keys_of(range(count) if contents is None else contents)
    return data.split(np.arange(count), keys, keys[:, :2], seed)


def positions(data: TrainingData, contents: Sequence[int], seed: int = 0) -> list[list[int]]:
    return [rows.tolist() for rows in split(data, contents, seed).rows]


def test_dividing_a_folder_gives_both_parts_with_the_same_classes(tmp_path: Path) -> None:
    data = read_labelled(class_folder(tmp_path, {"cats": 6, "dogs": 4}))
    training, validation, *_ = split(read_training_data(data, 0.2))
    assert validation is not None
    assert (len(training), len(validation)) == (8, 2)
    assert sorted(map(str, [*training.images.files, *validation.images.files])) == sorted(map(str, data.images.files))
    assert validation.classes.tolist() == training.classes.tolist() == ["cats", "dogs"]
    for part in (training, validation):
        assert [part.classes[c] for c in part.codes] == [Path(str(file)).parent.name for file in part.images.files]


def test_without_a_share_all_images_are_for_training(tmp_path: Path) -> None:
    data = read_labelled(class_folder(tmp_path, {"cats": 2, "dogs": 2}))
    training, validation, *_ = split(read_training_data(data, None))
    assert list(training.images.files) == list(data.images.files)
    assert validation is None


def test_images_are_known_wherever_the_process_goes_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train", "val"):
        class_folder(tmp_path / name, {"cats": 2, "dogs": 2})
    monkeypatch.chdir(tmp_path)
    material = read_training_data(read_labelled("train"), "val")
    assert material.validation is not None
    for data in (material.images, material.validation):
        assert all(Path(str(data.images.path(index))).is_absolute() for index in range(len(data)))


def test_validation_data_is_read_with_the_classes_of_the_training_data(tmp_path: Path) -> None:
    data = read_labelled(class_folder(tmp_path / "train", {"cats": 2, "dogs": 2, "owls": 2}))
    held_out = class_folder(tmp_path / "val", {"owls": 1, "dogs": 1})
    material = read_training_data(data, held_out)
    assert list(material.images.images.files) == list(data.images.files)
    assert material.validation is not None
    assert material.validation.codes.tolist() == [1, 2]
    assert [sorted(part.tolist()) for part in split(material).rows] == [list(range(6)), [6, 7]], (
        "nothing more is held out"
    )


def test_validation_data_may_be_a_pair_of_images_and_labels(tmp_path: Path) -> None:
    data = read_labelled(class_folder(tmp_path, {"cats": 2, "dogs": 2}))
    pair = (np.full((2, 8, 8, 3), 9, np.uint8), ["dogs", "cats"])
    material = read_training_data(data, pair)
    assert material.validation is not None
    assert material.validation.codes.tolist() == [1, 0]


def test_an_unknown_class_in_the_validation_data_is_named(tmp_path: Path) -> None:
    data = read_labelled(class_folder(tmp_path / "train", {"cats": 2, "dogs": 2}))
    held_out = class_folder(tmp_path / "val", {"dog": 1})
    with refused(InvalidInputError, "The validation data holds the class 'dog'", "did you mean 'dogs'?", "Rename"):
        read_training_data(data, held_out)


def test_data_that_cannot_be_divided_is_refused_before_it_is_looked_at(tmp_path: Path) -> None:
    data = read_labelled(class_folder(tmp_path, {"cats": 1, "dogs": 1}))
    with refused(InvalidInputError, "A share of 0.5 of 2 images", "Pass validation=None"):
        read_training_data(data, 0.5)


@pytest.mark.parametrize("lenient", [False, True])
def test_missing_validation_files_are_let_pass_only_if_asked_for(tmp_path: Path, lenient: bool) -> None:
    data = read_labelled(class_folder(tmp_path, {"cats": 2, "dogs": 2}))
    pair = ([tmp_path / "cats" / "000.png", tmp_path / "gone.png"], ["cats", "dogs"])
    if not lenient:
        with refused(InvalidInputError, "There is no file", "gone.png"):
            read_training_data(data, pair, lenient=lenient)
    else:
        material = read_training_data(data, pair, lenient=lenient)
        assert material.validation is not None
        assert len(material.validation) == 2


# ---- copies ----


def of_codes(codes: list[int], share: float) -> TrainingData:
    labels = [f"class {code}" for code in codes]
    arrays = np.zeros((len(codes), 4, 4, 3), np.uint8)
    return TrainingData(read_labelled(arrays, labels), None, share)


@steady
@given(
    st.lists(st.integers(0, 12), min_size=6, max_size=40).filter(lambda n: len(set(n[1:])) > 2),
    st.floats(0.05, 0.8),
    SEEDS,
)
def test_copies_by_content_fall_on_one_side(contents, share, seed) -> None:
    codes = [1, *[0] * (len(contents) - 1)]  # of one class but for the first
    contents[0] = 200
    training, validation = positions(of_codes(codes, share), contents, seed)
    assert sorted([*training, *validation]) == list(range(len(codes)))
    assert not {contents[i] for i in training} & {contents[i] for i in validation}


@steady
@given(st.lists(st.integers(0, 30), min_size=8, max_size=60), SEEDS)
def test_copies_in_two_classes_fall_on_one_side(contents, seed) -> None:
    # Two images of each class that have no copies: there is something to divide.
    contents = [*contents, 201, 202, 203, 204]
    codes = [index % 2 for index in range(len(contents))]
    training, validation = positions(of_codes(codes, 0.3), contents, seed)
    assert sorted([*training, *validation]) == list(range(len(codes)))
    assert {codes[i] for i in training} == {0, 1}
    assert len(validation) > 0
    assert not {contents[i] for i in training} & {contents[i] for i in validation}


def test_classes_of_copies_alone_cannot_be_divided() -> None:
    data = of_codes([0, 0, 0, 1, 1], 0.5)
    with refused(
        InvalidInputError, "of 5 images leaves none", "3 of them are copies of others", "two different images"
    ):
        positions(data, [1, 1, 1, 2, 2])


def test_copies_in_several_classes_are_counted_where_none_is_left() -> None:
    with refused(InvalidInputError, "2 of them are copies of others, 2 are in several classes", "no other class has"):
        positions(of_codes([0, 0, 1, 1], 0.5), [1, 2, 1, 2])


@pytest.mark.thorough
def test_a_folder_of_copies_is_refused_by_fit(tmp_path: Path) -> None:
    for name, shade in (("cats", 50), ("dogs", 200)):
        for number in range(20):
            write_png(tmp_path / name / f"{number}.png", np.full((32, 32, 3), shade, np.uint8))
    clf = tk.TransferClassifier("TransferKitTiny", seed=0, cache=False)
    with refused(InvalidInputError, "of 40 images leaves none for validation", "38 of them are copies of others"):
        clf.fit(tmp_path, epochs=1, verbose=0)
