"""`show_images`: the grid of what a network will see."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from drawing import class_folder, picture, write
from helpers import refused
from matplotlib.figure import Figure

import transferkit as tk
from transferkit.images.decoding import resize

IMAGES = np.stack([picture(seed, (40, 30)) for seed in range(10)])


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def pixels(figure: Figure) -> np.ndarray:
    return np.stack([np.asarray(axes.images[0].get_array()) for axes in figure.axes])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "photos", {"cats": 6, "dogs": 6})


def test_a_class_folder_is_shown_with_class_names_and_every_class_has_its_share(folder: Path) -> None:
    assert titles(tk.show_images(folder, size=32, count=6)) == ["cats"] * 3 + ["dogs"] * 3


def test_a_flat_folder_is_shown_with_file_names(tmp_path: Path) -> None:
    for name in ("b.png", "a [1].jpg"):
        write(tmp_path / name)
    assert titles(tk.show_images(tmp_path, size=32)) == ["a [1].jpg", "b.png"]
    assert titles(tk.show_images([tmp_path / "b.png"], size=32)) == ["b.png"]
    assert titles(tk.show_images(str(tmp_path / "b.png"), size=32)) == ["b.png"]


def test_a_folder_of_classes_with_an_image_beside_them_is_shown_with_class_names(folder: Path) -> None:
    write(folder / "stray.png")
    assert set(titles(tk.show_images(folder, size=32))) == {"cats", "dogs"}


@pytest.mark.parametrize("frame", [False, True])
def test_a_data_frame_is_shown_with_labels_if_it_has_them(folder: Path, frame: bool) -> None:
    data = pd.DataFrame({"path": sorted(folder.rglob("*.png"))[:2]})
    if frame:
        data["label"] = ["Miez", "Maunz"]
    assert titles(tk.show_images(data, size=32)) == (["Miez", "Maunz"] if frame else ["000.png", "001.png"])


@pytest.mark.parametrize("labelled", [False, True])
def test_a_dataset_is_shown_with_labels_if_it_has_them(labelled: bool) -> None:
    source = (IMAGES[:4], [3, 4, 3, 4]) if labelled else IMAGES[:4]
    figure = tk.show_images(tf.data.Dataset.from_tensor_slices(source).batch(2), size=32)
    assert titles(figure) == (["3", "4", "3", "4"] if labelled else [f"image {n}" for n in range(4)])


def test_arrays_are_shown_as_the_network_sees_them() -> None:
    before = IMAGES.copy()
    figure = tk.show_images(IMAGES, ["a", "b"] * 5, size=(16, 24), count=3)
    assert titles(figure) == ["a", "a", "b"]  # images 0, 4 and 9
    known = [np.round(resize(IMAGES[n], (16, 24))) for n in (0, 4, 9)]
    np.testing.assert_array_equal(pixels(figure), known)
    assert np.array_equal(IMAGES, before)


@pytest.mark.parametrize(("count", "shown"), [(1, 1), (10, 10), (11, 10), (7, 7)])
def test_as_many_images_are_shown_as_asked_and_there_are(count: int, shown: int) -> None:
    figure = tk.show_images(IMAGES, size=32, count=count)
    assert len(set(titles(figure))) == shown


@pytest.mark.thorough
def test_augmentation_changes_the_images_by_the_seed() -> None:
    plain, first, again, other = (
        pixels(tk.show_images(IMAGES, size=32, count=4, **options)).astype(int)
        for options in (
            {},
            {"augmentation": "light", "seed": 1},
            {"augmentation": "light", "seed": 1},
            {"augmentation": "light", "seed": 2},
        )
    )
    assert np.array_equal(first, again)
    assert np.abs(first - plain).mean() > 1
    assert np.abs(first - other).mean() > 1


def test_any_keras_layer_augments() -> None:
    figure = tk.show_images(IMAGES, size=32, count=2, augmentation=keras.layers.Rescaling(0, 40))
    assert (pixels(figure) == 40).all()


def test_one_image_that_cannot_be_read_is_named(folder: Path) -> None:
    (folder / "cats" / "000.png").write_bytes(b"junk")
    with refused(tk.ImageReadError, str(folder / "cats" / "000.png"), "cannot be read"):
        tk.show_images(folder, size=32)


def test_no_images_are_refused(tmp_path: Path) -> None:
    with refused(tk.InvalidInputError, "no images to show", "Check the folder"):
        tk.show_images(tmp_path)


@pytest.mark.parametrize("count", [0, -1, 2.5, True])
def test_another_count_is_refused(count: object) -> None:
    with refused(tk.InvalidInputError, f"`count={count!r}`", "count=12"):
        tk.show_images(IMAGES, count=count)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, "big", (32,)])
def test_another_size_is_refused_under_its_own_name(size: object) -> None:
    with refused(tk.InvalidInputError, f"`size={size!r}`", "(height, width) in pixels", " size=224"):
        tk.show_images(IMAGES, size=size)  # type: ignore[arg-type]


@pytest.mark.parametrize("augmentation", ["heavy", 3])
def test_another_augmentation_is_refused(augmentation: object) -> None:
    with refused(tk.InvalidInputError, f"`augmentation={augmentation!r}`", "augmentation='light'"):
        tk.show_images(IMAGES, augmentation=augmentation)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 1.5])
def test_another_seed_is_refused(seed: object) -> None:
    with refused(tk.InvalidInputError, f"`seed={seed!r}`", "seed=0"):
        tk.show_images(IMAGES, augmentation="light", seed=seed)  # type: ignore[arg-type]


@pytest.mark.thorough
def test_without_a_seed_each_call_augments_differently(folder: Path) -> None:
    one, two = (pixels(tk.show_images(folder, augmentation="light", seed=None)) for _ in range(2))
    assert not np.array_equal(one, two)
