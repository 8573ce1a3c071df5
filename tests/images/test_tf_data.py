"""A dataset is read once, and its images stay in a temporary file."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import Make
from drawing import Pixels
from helpers import fresh_python, refused

import transferkit as tk
from transferkit.images import content_of, read_images
from transferkit.results import Evaluation


@pytest.mark.thorough
def test_a_shuffled_dataset_on_disk_equals_arrays(
    make: Make, pictures: tuple[Pixels, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pixels, names = pictures
    pairs = (
        tf.data.Dataset.from_tensor_slices((pixels, names)).shuffle(36, seed=1).batch(7)
    )  # each time in another order
    assert sorted(label for _, labels in pairs for label in labels.numpy().tolist())
    options = {"validation": None, "verbose": 0}
    clf, expected = make().fit(pairs, **options), make().fit(pixels, names, **options)
    clf.fine_tune(at=-3, epochs=1, validation=None, verbose=0)  # the images are read again
    assert clf.classes_.tolist() == expected.classes_.tolist()
    evaluation = expected.evaluate(pairs, verbose=0)
    assert isinstance(evaluation, Evaluation)
    assert evaluation.accuracy == pytest.approx(expected.evaluate(pixels, names, verbose=0).accuracy)
    assert pickle.loads(pickle.dumps(evaluation)).plot_top_losses(4) is not None
    assert list(tmp_path.iterdir()) == []  # the file has no name


def test_images_of_all_sizes_and_types_come_back() -> None:
    arrays = [np.random.default_rng(0).integers(0, 256, (1, 4, width, 3)).astype(np.float32) for width in (5, 6, 7)]
    signature = tf.TensorSpec((None, None, None, 3), tf.float32)
    images = read_images(tf.data.Dataset.from_generator(lambda: iter(arrays), output_signature=signature))
    for index in (2, 0, 1):
        assert np.array_equal(content_of(images, index), arrays[index][0])


@pytest.mark.thorough
def test_a_disk_without_room_is_an_error(
    loaded: tk.TransferClassifier, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with refused(tk.InvalidInputError, "could not be written to", "gone", "TMPDIR"):
        loaded.predict(tf.data.Dataset.from_tensors(np.full((1, 8, 8, 3), 9, np.uint8)), verbose=0)


@pytest.mark.thorough
def test_memory_stays_flat() -> None:
    code = """
import resource
import numpy as np
import pandas as pd
import tensorflow as tf
from transferkit.images import read_images
def batches():
    for number in range(50):
        yield np.full((8, 512, 512, 3), number + 2, np.uint8)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
data = tf.data.Dataset.from_generator(batches, output_signature=tf.TensorSpec((None, None, None, 3), tf.uint8))
read_images(data.take(1))
before = peak()
read_images(data)
print(peak() - before)
"""
    assert float(fresh_python(code)) < 150  # MB, of 315 MB of pixels


@pytest.mark.parametrize("names", [[3, 7], np.array([b"cat", b"dog"])], ids=["numbers", "bytes"])
def test_class_names_of_a_dataset_become_text(make: Make, pictures: tuple[Pixels, list[str]], names: object) -> None:
    data = tf.data.Dataset.from_tensor_slices((pictures[0][:8], [0, 1] * 4)).batch(4)
    data.class_names = names
    clf = make().fit(data, validation=None, verbose=0)
    assert clf.classes_.tolist() == (["3", "7"] if isinstance(names, list) else ["cat", "dog"])


def test_a_class_that_is_named_but_has_no_image_is_refused(make: Make, pictures: tuple[Pixels, list[str]]) -> None:
    data = tf.data.Dataset.from_tensor_slices((pictures[0][:8], [0, 1] * 4)).batch(4)
    data.class_names = ["a", "b", "c"]
    with refused(tk.InvalidInputError, "The class 'c' has no images"):
        make().fit(data, verbose=0)
    frame = pd.DataFrame({"image": list(pictures[0][:4]), "a": [1, 0, 1, 0], "b": [0, 1, 0, 1], "c": 0})
    with refused(tk.InvalidInputError, "The class 'c' has no images"):
        make().fit(frame, verbose=0)
    assert "empty class" in {fault.kind for fault in tk.check_images(frame, verbose=0).faults}
