"""Every form in which images are handed over, and what of it is refused."""

from __future__ import annotations

import io
import os
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from drawing import class_folder, picture, saved, write
from helpers import refused
from PIL import Image

from transferkit.cache.shards import content_key
from transferkit.errors import ImageReadError, InvalidInputError
from transferkit.images.decoding import Resizing, content_of, load
from transferkit.images.images import LabelledImages
from transferkit.images.reading import read_images, read_labelled, split_pair

BATCH = np.stack([picture(seed) for seed in range(5)])
LABELS = ["dogs", "cats", "dogs", "owls", "cats"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return class_folder(tmp_path / "ünï [photos]", {"cats": 2, "dogs": 3})


def names_of(data: LabelledImages) -> list:
    return data.classes[data.codes].tolist()


def dataset(images=BATCH, labels=LABELS, batch: int = 2) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch)


# ---- labelled data ----


@pytest.mark.parametrize("read", [lambda: read_labelled(BATCH, LABELS), lambda: read_images(BATCH)])
def test_sets_of_images_compare_by_identity(read) -> None:
    one, other = read(), read()
    assert one == one
    assert one != other
    assert {one: "key"}[one] == "key"


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_brings_paths_and_class_names(folder: Path, kind: type) -> None:
    data = read_labelled(kind(folder))
    assert data.classes.tolist() == ["cats", "dogs"]
    assert names_of(data) == ["cats"] * 2 + ["dogs"] * 3
    assert list(data.images.files)
    names = ("cats/000.png", "cats/001.png", "dogs/000.png", "dogs/001.png", "dogs/002.png")
    assert [data.images.path(i) for i in range(5)] == [str(folder / name) for name in names]
    assert data.folder is not None


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, lambda p: np.array(p, object)])
def test_paths_come_with_labels(folder: Path, kind) -> None:
    paths = [str(folder / name) for name in ("dogs/001.png", "cats/000.png", "dogs/000.png")]
    data = read_labelled(kind(paths), ["d", "c", "d"])
    assert names_of(data) == ["d", "c", "d"]
    assert [data.images.path(i) for i in range(3)] == paths
    assert data.folder is None


@pytest.mark.parametrize("labels", [[7, 3, 7], [True, False, True], ["b", "a", "b"]])
def test_class_names_keep_the_type_of_the_labels(folder: Path, labels: list) -> None:
    data = read_labelled(sorted((folder / "dogs").iterdir()), labels)
    assert names_of(data) == labels
    assert data.classes.tolist() == sorted(set(labels))


def test_one_file_cannot_be_of_two_classes(folder: Path) -> None:
    path = folder / "cats/000.png"
    with refused(InvalidInputError, "000.png", "with 'a', 'b'", "Drop one of the two"):
        read_labelled([path, path], ["a", "b"])
    assert len(read_labelled([path, path, folder / "dogs/000.png"], ["a", "a", "b"])) == 3


@pytest.mark.parametrize("kind", [np.asarray, list, tuple, tf.constant])
def test_arrays_come_with_labels_and_are_not_changed(kind) -> None:
    data = read_labelled(kind(BATCH), LABELS)
    assert not list(data.images.files)
    assert names_of(data) == LABELS
    assert all(np.array_equal(data.images.sources[i], BATCH[i]) for i in range(5))
    assert data.images.path(0) is None


def test_arrays_are_not_copied() -> None:
    batch = BATCH.copy()
    batch.setflags(write=False)
    images = read_labelled(batch, LABELS).images
    assert not list(images.files)
    assert np.shares_memory(images.sources[2], batch)


def test_a_data_frame_brings_paths_and_labels(folder: Path) -> None:
    frame = pd.DataFrame({"label": [1, 0], "path": [str(folder / "dogs/000.png"), folder / "cats/000.png"], "more": 0})
    data = read_labelled(frame.set_index(pd.Index([5, 9])))
    assert names_of(data) == [1, 0]
    assert data.images.path(1) == str(folder / "cats/000.png")


def test_a_dataset_brings_arrays_and_labels() -> None:
    data = read_labelled(dataset())
    assert names_of(data) == LABELS
    assert not list(data.images.files)
    assert np.array_equal(np.stack([content_of(data.images, i) for i in range(5)]), BATCH)


def test_the_class_names_of_a_dataset_stand_for_its_indices() -> None:
    source = dataset(labels=[1, 0, 1, 2, 0])
    source.class_names = ["owls", "cats", "dogs"]
    data = read_labelled(source)
    assert data.classes.tolist() == ["owls", "cats", "dogs"]
    assert names_of(data) == ["cats", "owls", "cats", "dogs", "owls"]


def test_class_names_may_be_given_again_to_a_dataset_that_lost_them() -> None:
    source = dataset(labels=[1, 0, 1, 2, 0]).map(lambda x, y: (x, y)).cache().prefetch(1)
    assert read_labelled(source).classes.tolist() == [0, 1, 2]
    source.class_names = ["owls", "cats", "dogs"]
    assert names_of(read_labelled(source)) == ["cats", "owls", "cats", "dogs", "owls"]


def test_a_dataset_may_have_one_hot_labels() -> None:
    assert names_of(read_labelled(dataset(labels=np.eye(3)[[1, 0, 1, 2, 0]]))) == [1, 0, 1, 2, 0]


def test_a_dataset_of_several_sizes_is_taken() -> None:
    source = tf.data.Dataset.from_generator(
        lambda: ((np.full((1, 4, width, 3), 9, np.uint8), [width % 2]) for width in (5, 6, 7)),
        output_signature=(tf.TensorSpec((None, None, None, 3), tf.uint8), tf.TensorSpec((None,), tf.int64)),
    )
    data = read_labelled(source)
    assert not list(data.images.files)
    assert [data.images.sources[i].shape[1] for i in range(3)] == [5, 6, 7]


def test_known_classes_keep_their_codes_when_the_data_lacks_one(folder: Path) -> None:
    data = read_labelled(folder, classes=np.array(["birds", "cats", "cows", "dogs"]))
    assert data.codes.tolist() == [1, 1, 3, 3, 3]
    assert data.classes.tolist() == ["birds", "cats", "cows", "dogs"]


def test_known_classes_let_a_class_folder_be_empty(folder: Path) -> None:
    (folder / "owls").mkdir()
    assert read_labelled(folder, classes=np.array(["cats", "dogs", "owls"])).codes.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("classes", [[3, 10], [False, True]])
def test_folders_named_like_numbers_stand_for_classes_that_are_numbers(tmp_path: Path, classes: list) -> None:
    class_folder(tmp_path, {str(classes[0]): 1, str(classes[1]): 2})
    data = read_labelled(tmp_path, classes=np.array(classes))
    assert names_of(data) == sorted([classes[0], classes[1], classes[1]], key=str)


def test_a_subset_keeps_images_codes_and_names_together(folder: Path) -> None:
    for data in (read_labelled(folder), read_labelled(BATCH, LABELS)):
        part = data.subset(np.array([4, 1])).subset(np.array([1, 0]))
        assert part.codes.tolist() == data.codes[[1, 4]].tolist()
        assert part.classes is data.classes
        for new, old in enumerate((1, 4)):
            assert part.images.path(new) == data.images.path(old)
            assert part.images.name(new) == data.images.name(old)
            assert np.array_equal(part.images.sources[new], data.images.sources[old])


def test_absolute_images_stay_the_same_wherever_the_process_goes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    data = read_labelled(folder.name)
    assert data.images.path(0) == f"{folder.name}/cats/000.png"
    kept = data.absolute()
    assert kept.images.path(0) == str(folder / "cats/000.png")
    assert kept.codes.tolist() == data.codes.tolist()
    assert read_labelled(BATCH, LABELS).absolute().images.path(0) is None


# ---- unlabelled images ----


@pytest.mark.parametrize("name", ["cat ñ 猫.jpg", "a b [1]*.PNG", "no_extension", "'quoted'.png"])
@pytest.mark.parametrize("kind", [str, Path, lambda p: [p], lambda p: (str(p),), lambda p: pd.DataFrame({"path": [p]})])
def test_one_path_is_one_image_whatever_its_name(tmp_path: Path, name: str, kind) -> None:
    path = write(tmp_path / name)
    images = read_images(kind(path))
    assert list(images.files)
    assert images.sources == [str(path)]


def test_a_name_that_is_no_unicode_is_taken(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        path.write_bytes(b"x")
    except OSError as error:
        pytest.skip(f"this file system takes no such name: {error}")
    assert [str(path)] == list(read_images(path).files) == list(read_images(tmp_path).files)


def test_a_flat_folder_is_its_images_in_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "deep/c.JPG"):
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    assert [Path(str(file)).name for file in read_images(tmp_path).files] == ["a.png", "b.png", "c.JPG"]


@pytest.mark.parametrize("image", [BATCH[0], BATCH[0].astype(np.float32), tf.constant(BATCH[0])])
def test_one_image_is_a_sequence_of_one(image) -> None:
    images = read_images(image)
    assert len(images) == 1
    assert np.array_equal(images.sources[0], BATCH[0])


@pytest.mark.parametrize("several", [BATCH, list(BATCH), [picture(1, (4, 5)), picture(2, (6, 7))], []])
def test_several_images_keep_their_order(several) -> None:
    images = read_images(several)
    assert len(images) == len(several)
    assert all(np.array_equal(images.sources[i], image) for i, image in enumerate(several))


@pytest.mark.parametrize(
    "source", [dataset(), tf.data.Dataset.from_tensor_slices(BATCH).batch(3)], ids=["pairs", "bare"]
)
def test_a_dataset_is_read_with_and_without_labels(source) -> None:
    images = read_images(source)
    assert np.array_equal(np.stack([content_of(images, i) for i in range(len(images))]), BATCH)


def test_errors_name_a_file_by_its_path_and_an_array_by_its_position(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    assert read_images(path).name(0) == str(path)
    assert read_images(BATCH).subset([3]).name(0) == "image 3"


def test_a_pair_is_split_and_anything_else_is_left_alone() -> None:
    assert split_pair((BATCH, LABELS)) == (BATCH, LABELS)
    assert split_pair("photos/val") == ("photos/val", None)


# ---- bytes and Pillow images ----

ENCODED = [saved(Image.fromarray(image), "PNG") for image in BATCH]


@pytest.mark.parametrize("kind", [list, tuple, pd.Series, lambda b: np.array(b, object)])
def test_bytes_of_files_come_with_labels(kind) -> None:
    data = read_labelled(kind(ENCODED), LABELS)
    assert not list(data.images.files)
    assert names_of(data) == LABELS
    assert [data.images.sources[i] for i in range(5)] == ENCODED
    assert (data.images.path(2), data.images.name(2)) == (None, "image 2")


@pytest.mark.parametrize("column", ["path", "image"])
def test_a_data_frame_may_hold_images_in_place_of_paths(column: str) -> None:
    mixed = [ENCODED[0], BATCH[1], Image.fromarray(BATCH[2]), ENCODED[3], BATCH[4]]
    frame = pd.DataFrame({column: pd.Series(mixed, dtype=object), "label": LABELS})
    data = read_labelled(frame)
    assert names_of(data) == LABELS
    for images in (data.images, read_images(frame)):
        for index, image in enumerate(BATCH):
            assert np.array_equal(load(images, index, Resizing(image.shape[:2])), image)


@pytest.mark.parametrize("one", [ENCODED[0], Image.fromarray(BATCH[0]), [ENCODED[0]], [Image.fromarray(BATCH[0])]])
def test_one_image_in_memory_is_a_sequence_of_one(one) -> None:
    images = read_images(one)
    assert len(images) == 1
    assert np.array_equal(load(images, 0, Resizing(BATCH.shape[1:3])), BATCH[0])


def test_bytes_are_known_by_the_key_of_the_file_that_holds_them(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(ENCODED[0])
    contents = [content_of(read_images(given), 0) for given in (tmp_path / "a.png", ENCODED[0])]
    assert content_key(contents[0]) == content_key(contents[1])


def test_bytes_that_are_no_image_are_named_by_their_position() -> None:
    images = read_images([ENCODED[0], b"<html>"])
    with refused(ImageReadError, "image 1", "not an image") as caught:
        load(images, 1, Resizing((8, 8)))
    assert caught.value.kinds == {"image 1": "not an image"}


# ---- refusals ----


@pytest.mark.parametrize("read", [read_labelled, read_images])
def test_a_missing_path_is_named(tmp_path: Path, read) -> None:
    with refused(InvalidInputError, str(tmp_path / "nowhere"), "exist", "Check the path"):
        read(tmp_path / "nowhere")


def test_missing_files_are_named_the_first_few_of_many(tmp_path: Path) -> None:
    paths = [tmp_path / f"{n}.jpg" for n in range(8)]
    with refused(InvalidInputError, str(paths[0]), str(paths[4]), "and 3 more", "Check the paths") as caught:
        read_labelled(paths, [0, 1] * 4)
    assert str(paths[5]) not in str(caught.value)


def test_a_file_in_place_of_the_training_folder_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    with refused(InvalidInputError, repr(str(path)), "is a file", "Pass the folder"):
        read_labelled(path)


def test_paths_that_are_no_regular_files_are_refused_before_they_hang_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    for path in sorted(tmp_path.iterdir()):
        with refused(InvalidInputError, repr(str(path)), "not a regular file", "Leave it out"):
            read_images([path])


@pytest.mark.parametrize(
    ("data", "description"),
    [(BATCH, "an array of shape (5, 24, 32, 3)"), ([BATCH[0]], "a list"), (["a.jpg"], "a list")],
)
def test_data_that_needs_labels_is_refused_without(data: object, description: str) -> None:
    with refused(InvalidInputError, "The data has no labels", description, "Pass labels="):
        read_labelled(data)


@pytest.mark.parametrize("form", ["folder", "DataFrame", "dataset"])
def test_labels_beside_data_that_brings_its_own_are_refused(folder: Path, form: str) -> None:
    data = {"folder": folder, "DataFrame": pd.DataFrame({"path": [], "label": []}), "dataset": dataset()}[form]
    with refused(InvalidInputError, "`labels=['a']`", "must be left out", form, "Drop the argument"):
        read_labelled(data, ["a"])


def test_labels_beside_a_table_without_a_column_of_them(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{number}.png") for number in range(4)]
    for file in files:
        Path(file).write_bytes(b"content")
    frame = pd.DataFrame({"path": files, "species": ["a", "b", "a", "b"]})
    assert read_labelled(frame, frame["species"]).codes.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("blank", ["", " ", np.str_("")])
def test_blank_labels_are_refused(blank: str) -> None:
    with refused(InvalidInputError, "The label", "is blank: class names must be one line of text"):
        read_labelled(BATCH[:5], ["a", blank, "a", blank, "a"])


@pytest.mark.parametrize("data", [BATCH, list(BATCH), ["a.jpg"] * 5])
def test_labels_of_another_length_are_refused(data) -> None:
    with refused(InvalidInputError, "2 labels were given for 5 images", "Check the two lists"):
        read_labelled(data, ["a", "b"])


@pytest.mark.parametrize(
    "data", [[], np.zeros((0, 4, 4, 3), np.uint8), np.array([], dtype=str), pd.Series([], dtype=str)]
)
def test_no_images_are_refused(data) -> None:
    with refused(InvalidInputError, "The data holds no images", "Check what you pass"):
        read_labelled(data, [])


def test_an_empty_data_frame_is_refused() -> None:
    with refused(InvalidInputError, "The data holds no images"):
        read_labelled(pd.DataFrame({"path": [], "label": []}))


def test_an_empty_class_folder_is_named(folder: Path) -> None:
    (folder / "owls").mkdir()
    with refused(InvalidInputError, "'owls'", str(folder), "no images", "remove the folder"):
        read_labelled(folder)


def test_one_class_is_refused(tmp_path: Path) -> None:
    with refused(InvalidInputError, "only the class 'cats'", "two classes or more", "Add a second class"):
        read_labelled(class_folder(tmp_path, {"cats": 3}))


@pytest.mark.parametrize("name", ["test data", "validation data"])
def test_an_unknown_class_is_named_with_the_data_that_holds_it(folder: Path, name: str) -> None:
    with refused(InvalidInputError, f"The {name} holds the class 'dogs'", "did you mean 'dog'?"):
        read_labelled(folder, classes=np.array(["cats", "dog"]), what=name)


@pytest.mark.parametrize("read", [read_labelled, read_images])
def test_a_data_frame_without_the_column_is_refused_with_those_it_has(read) -> None:
    with refused(InvalidInputError, "'photo', 'kind'", "'path', 'image', 'file', 'filename', 'filepath'", "Rename"):
        read(pd.DataFrame({"photo": ["a.jpg"], "kind": ["a"]}))


def test_a_data_frame_without_labels_is_refused_with_the_columns_that_were_looked_for() -> None:
    with refused(InvalidInputError, "'path', 'kind'", "'label', 'class', 'target'", "Rename"):
        read_labelled(pd.DataFrame({"path": ["a.jpg"], "kind": ["a"]}))


@pytest.mark.parametrize("image", ["path", "Image", "file", "FileName", "filepath"])
@pytest.mark.parametrize("label", ["label", "Class", "TARGET"])
def test_columns_are_found_by_their_usual_names(folder: Path, image: str, label: str) -> None:
    paths = [str(folder / "dogs/000.png"), str(folder / "cats/000.png")]
    data = read_labelled(pd.DataFrame({label: ["b", "a"], image: paths}))
    assert (names_of(data), list(data.images.files)) == (["b", "a"], paths)


@pytest.mark.parametrize("twice", ["path", "label"])
def test_two_columns_of_one_name_are_refused(twice: str) -> None:
    table = pd.DataFrame([["a.png", "a", "b"], ["b.png", "b", "a"]], columns=["path", "label", twice])
    with refused(InvalidInputError, f"several columns called {twice!r}", "Rename"):
        read_labelled(table)


def test_a_column_called_path_comes_before_others(folder: Path) -> None:
    paths = [str(folder / "cats/000.png")]
    assert read_images(pd.DataFrame({"filename": ["000.png"], "image": [BATCH[0]], "path": paths})).sources == paths


def test_a_tilde_stands_for_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    first = str(folder / "cats/000.png")
    assert len(read_labelled("~")) == len(read_images(Path("~"))) == 5
    assert read_images("~/cats/000.png").sources == read_images([Path("~/cats/000.png")]).sources == [first]
    assert read_labelled(["~/cats/000.png", "~/dogs/000.png"], ["a", "b"]).images.path(0) == first
    assert read_images(["~nobody of this name/a.png"], lenient=True).sources == ["~nobody of this name/a.png"]


def test_an_empty_list_without_labels_is_refused_for_being_empty() -> None:
    with refused(InvalidInputError, "The test data holds no images", "Check what you pass"):
        read_labelled([], what="test data")


READERS = [read_images, read_labelled, lambda data: read_labelled(data, ["a", "b"])]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    "data",
    [{"a.jpg", "b.jpg"}, {"a.jpg": 1}.keys(), {1: BATCH[0]}.values(), (x for x in BATCH), map(str, "ab"), iter([])],
)
def test_what_has_no_order_or_can_be_read_only_once_is_refused(read, data: object) -> None:
    with refused(InvalidInputError, f"The data has the type {type(data).__name__}: ", "fixed order", "Pass a list"):
        read(data)


@pytest.mark.parametrize("read", READERS)
def test_none_is_refused(read) -> None:
    with refused(InvalidInputError, "The data is None", "images must be given", "Pass a folder"):
        read(None)


class OfAnotherLibrary:
    """As the data sets of PyTorch."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return BATCH[index], index


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("made", [OfAnotherLibrary, dict, object, "flow", "PyDataset"])
def test_data_of_another_library_is_refused_by_its_type_with_the_forms_that_are_taken(read, made) -> None:
    if made == "flow":
        data = keras.src.legacy.preprocessing.image.ImageDataGenerator().flow(BATCH, [0, 1, 0, 1, 0])
    else:
        data = keras.utils.PyDataset() if made == "PyDataset" else made()
    with refused(
        InvalidInputError, f"The data has the type {type(data).__name__}: ", "a pandas DataFrame", "Convert it"
    ):
        read(data)


@pytest.mark.parametrize("item", [None, {"image": 1}, ("a.jpg", "cat"), object()])
def test_an_item_of_a_list_that_is_no_image_is_refused_by_its_position(item: object) -> None:
    with refused(InvalidInputError, f"Image 1 is {item!r}", "the bytes of a file", "RGB"):
        read_images([BATCH[0], item])


@pytest.mark.parametrize("one", [ENCODED[0], bytearray(ENCODED[0]), Image.fromarray(BATCH[0])])
def test_one_image_in_memory_may_come_with_one_label(one) -> None:
    data = read_labelled(one, ["a"], np.array(["a", "b"]))
    assert (len(data.images), names_of(data)) == (1, ["a"])


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_other_buffers_of_the_bytes_of_a_file_are_taken(kind) -> None:
    for images in (read_images(kind(ENCODED[0])), read_images([kind(ENCODED[0])])):
        assert images.sources == [ENCODED[0]]
    assert np.array_equal(read_images(memoryview(BATCH[0])).sources[0], BATCH[0])


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_data_frame_with_a_missing_path_is_refused(tmp_path: Path, missing) -> None:
    frame = pd.DataFrame({"path": [str(write(tmp_path / "a.png")), missing], "label": ["a", "b"]})
    with refused(InvalidInputError, "path"):
        read_labelled(frame)


def test_a_data_frame_with_a_missing_label_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"path": [write(tmp_path / "a.png")] * 3, "label": ["a", "b", float("nan")]})
    with refused(InvalidInputError, "labels at 2", "missing"):
        read_labelled(frame)


def test_a_list_of_paths_and_arrays_is_refused(tmp_path: Path) -> None:
    with refused(InvalidInputError, "list of paths holds array(", "at 1", "split it in two"):
        read_images([write(tmp_path / "a.png"), BATCH[0]])


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        (dataset().repeat(), ("never ends", ".take(n)")),
        (dataset().unbatch(), ("(batch, height, width, 3)", ".batch(32)")),
        (dataset().map(lambda x, y: x), ("(image, label)", "Map it")),
        (dataset().map(lambda x, y: (x, y, y)), ("(image, label)", "Map it")),
        (dataset().map(lambda x, y: {"image": x, "label": y}), ("(image, label)", "Map it")),
        (dataset().map(lambda x, y: ({"image": x}, y)), ("(image, label)", "Map it")),
    ],
)
def test_a_dataset_of_another_form_is_refused(source, parts: tuple[str, ...]) -> None:
    with refused(InvalidInputError, "The dataset", *parts):
        read_labelled(source)


def test_a_scaled_image_of_a_dataset_is_refused_by_its_position() -> None:
    images = BATCH.astype(np.float32)
    images[3] /= 255
    with refused(InvalidInputError, "Image 3 has values", "0-255", "Multiply by 255"):
        read_labelled(dataset(images))


def test_an_empty_dataset_is_refused() -> None:
    with refused(InvalidInputError, "The data holds no images"):
        read_labelled(dataset().take(0))


@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 1], [-1, 0, 1, 0, 1]])
def test_labels_beyond_the_class_names_of_a_dataset_are_refused(labels: list[int]) -> None:
    source = dataset(labels=labels)
    source.class_names = ["cats", "dogs"]
    with refused(InvalidInputError, "names 2 classes", f"from {min(labels)} to {max(labels)}", "class_names"):
        read_labelled(source)


@pytest.mark.parametrize("image", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 2), np.uint8), np.float32(3)])
def test_what_is_no_image_is_refused(image: object) -> None:
    with refused(InvalidInputError, "RGB"):
        read_images(image)


@pytest.mark.parametrize("read", [read_images, read_labelled])
def test_an_empty_path_is_not_taken_for_the_current_folder(read) -> None:
    with refused(InvalidInputError, "path is empty", "Pass '.'"):
        read("")


def test_an_open_file_is_refused_with_what_to_pass() -> None:
    with refused(InvalidInputError, "is an open file", "file.read()"):
        read_images(io.BytesIO(b"-"))
