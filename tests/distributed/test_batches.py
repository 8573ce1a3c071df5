"""`PredictBatch` and `FeatureBatch` without an engine: columns in, columns out, pickled, in processes of their own."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Make
from helpers import fresh_python, refused

import transferkit as tk


@pytest.fixture
def batch(photos: Path) -> dict[str, Any]:
    """18 photos as bytes, with a column of numbers."""
    return {"image": [path.read_bytes() for path in photo_paths(photos)], "id": np.arange(18)}


def photo_paths(photos: Path) -> list[Path]:
    return sorted((photos / "test").rglob("*.png"))


@pytest.mark.parametrize("views", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_batches_of_any_size_equal_predict(
    fitted_once: tuple[Path, Any], loaded: tk.TransferClassifier, batch: dict[str, Any], views: int
) -> None:
    expected = loaded.predict(batch["image"], views=views, verbose=0)
    for form in (fitted_once[0], loaded):
        predict = pickle.loads(pickle.dumps(tk.PredictBatch(form, probabilities=True, typicality=True, views=views)))
        for size in (1, 5, 18):
            parts = [predict({name: batch[name][at : at + size] for name in batch}) for at in range(0, 18, size)]
            answer = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            assert list(answer) == ["id", "label", "confidence", "error", "probabilities", "typicality"]
            assert answer["id"].tolist() == list(range(18))
            assert answer["label"].tolist() == expected.labels.tolist()
            # The last bits are those of the kernels, which the processor decides on.
            assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-6)
            assert answer["confidence"] == pytest.approx(expected.confidences, abs=1e-6)
            assert answer["typicality"] == pytest.approx(expected.typicalities, abs=0.1)
            assert set(answer["error"]) == {None}


def test_every_form_of_an_image_is_answered(
    loaded: tk.TransferClassifier, photos: Path, rng: np.random.Generator
) -> None:
    red = photos / "new" / "red.png"
    items = [
        red.read_bytes(),
        str(red),
        red,
        {"bytes": red.read_bytes(), "path": "red.png"},
        {"bytes": None, "path": str(red)},
    ]
    answer = tk.PredictBatch(loaded)({"image": items})
    assert answer["label"].tolist() == ["red"] * 5
    assert len(set(answer["confidence"])) == 1
    pixels = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    both = tk.PredictBatch(loaded)({"image": pixels})
    assert np.array_equal(both["confidence"], loaded.predict(pixels, verbose=0).confidences)


def test_a_bad_image_is_a_row_with_a_reason(
    loaded: tk.TransferClassifier, batch: dict[str, Any], tmp_path: Path
) -> None:
    good = batch["image"][0]
    bad = [None, b"", b"no image", good[:200], 3, str(tmp_path / "gone.png"), str(tmp_path), "", np.ones((4, 4)), {"x": 1},
           np.full((8, 8, 3), np.nan), "nowhere://x", [[1], [2, 3]]]  # fmt: skip
    answer = tk.PredictBatch(loaded, probabilities=True, typicality=True, prefix="my_")(
        {"image": [*bad, good], "label": [*range(len(bad)), -1]}
    )
    assert answer["my_label"].tolist()[:-1] == [None] * len(bad)
    assert answer["my_error"][-1] is None
    assert all(isinstance(reason, str) and reason for reason in answer["my_error"][:-1])
    assert np.isnan(answer["my_confidence"]).tolist() == [True] * len(bad) + [False]
    assert np.isnan(answer["my_probabilities"][:-1]).all()
    assert np.isnan(answer["my_typicality"]).tolist() == [True] * len(bad) + [False]
    assert np.array_equal(answer["my_probabilities"][-1:], loaded.predict([good], verbose=0).probabilities)
    assert answer["label"][-1] == -1
    all_bad = tk.PredictBatch(loaded)({"image": [b""]})
    assert (all_bad["label"].tolist(), all_bad["error"].tolist()) == ([None], ["the file is empty"])


def test_an_empty_batch_is_answered_with_empty_columns(loaded: tk.TransferClassifier, tmp_path: Path) -> None:
    answer = tk.PredictBatch(loaded)({"image": [], "id": []})
    assert {name: len(values) for name, values in answer.items()} == {"id": 0, "label": 0, "confidence": 0, "error": 0}
    assert len(tk.FeatureBatch(loaded, store=tmp_path / "values", features=True)({"image": []})["features"]) == 0


def test_paths_stay_and_contents_go(loaded: tk.TransferClassifier, photos: Path) -> None:
    paths = [str(path) for path in photo_paths(photos)]
    for column in (paths, np.array(paths), np.array([*paths, None], object)):
        assert tk.PredictBatch(loaded, image="path")({"path": column})["path"].tolist() == list(column)


@pytest.mark.parametrize(
    ("options", "columns", "words"),
    [
        ({}, {"photo": [b""]}, "The batch has the columns 'photo'"),
        ({}, {"image": [b""], "label": ["cat"]}, "prefix='predicted_'"),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    loaded: tk.TransferClassifier, options: dict[str, Any], columns: dict[str, Any], words: str
) -> None:
    with refused(tk.InvalidInputError, words):
        tk.PredictBatch(loaded, **options)(columns)


def test_columns_of_other_lengths_are_refused(loaded: tk.TransferClassifier, batch: dict[str, Any]) -> None:
    image = next(iter(batch))
    with refused(tk.InvalidInputError, "The column 'ids'", "one value per image"):
        tk.PredictBatch(loaded, image=image)({**batch, "ids": [1]})


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    number: Any = 3
    nothing: Any = None
    with refused(tk.InvalidInputError, "`classifier=3`"):
        tk.PredictBatch(number)
    with refused(tk.InvalidInputError, "`num_cpus=0`"):
        tk.PredictBatch("pets.keras", num_cpus=0)
    with refused(tk.InvalidInputError, "`views=3`"):
        tk.PredictBatch("pets.keras", views=3)
    with refused(tk.InvalidInputError, "`store=None`"):
        tk.FeatureBatch("pets.keras", store=nothing)
    with refused(tk.BundleError, "There is no file 'pets.keras'"):
        tk.PredictBatch("pets.keras")({"image": [b""]})
    with refused(tk.InvalidInputError, "`precision='auto'` may differ"):
        tk.FeatureBatch(tk.TransferClassifier("TinyNet", precision="auto"), store=tmp_path)
    unfitted = tk.TransferClassifier("TinyNet", weights=None)
    with refused(tk.NotFittedError, "PredictBatch needs a fitted classifier"):
        tk.PredictBatch(unfitted)({"image": [b""]})
    with refused(tk.InvalidInputError, "`seed=None`"):
        tk.FeatureBatch(unfitted, store=tmp_path)({"image": [b""]})


@pytest.mark.thorough
def test_a_process_loads_a_classifier_once_and_keeps_to_its_cpus(saved_file: Path, batch: dict[str, Any]) -> None:
    code = """
import pickle, sys
import transferkit as tk
predict, images = pickle.load(open(sys.argv[1], "rb"))
print("tensorflow" in sys.modules)
from networks import TINY
tk.register_backbone(TINY)
loads = []
load = tk.TransferClassifier.load
tk.TransferClassifier.load = lambda path: loads.append(path) or load(path)
for _ in range(3):
    label = pickle.loads(pickle.dumps(predict))({"image": images})["label"]
import tensorflow as tf
from transferkit.network import thread_count
print(len(loads), tf.config.threading.get_intra_op_parallelism_threads(), thread_count(), label.tolist())
"""
    file = Path("sent.pickle")
    file.write_bytes(pickle.dumps((tk.PredictBatch(saved_file, num_cpus=1), batch["image"][:1])))
    expected = tk.TransferClassifier.load(saved_file).predict(batch["image"][:1], verbose=0).labels.tolist()
    assert fresh_python(code, file).splitlines() == ["False", f"1 1 1 {expected}"]


@pytest.mark.thorough
@pytest.mark.parametrize("resize", ["squash", "pad"])
def test_fit_after_feature_batch_computes_nothing(make: Make, photos: Path, computed: list[int], resize: Any) -> None:
    clf = make(cache="values", resize=resize)
    extract = pickle.loads(pickle.dumps(tk.FeatureBatch(clf, store="values", features=True)))
    paths = sorted((photos / "train").rglob("*.png"))
    found = [extract({"image": [path.read_bytes() for path in paths[at : at + 10]]}) for at in range(0, 36, 10)]
    assert sum(computed) == 36
    assert np.concatenate([part["features"] for part in found]).shape == (36, 16)
    computed.clear()
    clf.fit(photos / "train", verbose=0)
    assert computed == []
    tuned = tk.FeatureBatch(clf, store="values", at=-3, image="path")
    tuned({"path": [str(path) for path in paths]})
    computed.clear()
    clf.fine_tune(at=-3, epochs=1, learning_rate=1e-3, validation=0, verbose=0)
    assert computed == []


def test_a_bad_image_has_no_features(make: Make, batch: dict[str, Any]) -> None:
    answer = tk.FeatureBatch(make(), store="values", features=True)({"image": [b"bad", batch["image"][0]]})
    assert answer["error"].tolist() == ["it is not an image of a known format", None]
    assert np.isnan(answer["features"]).all(axis=1).tolist() == [True, False]


def test_a_store_without_room_is_an_error_and_loses_nothing(make: Make, batch: dict[str, Any]) -> None:
    tk.FeatureBatch(make(), store="values")({"image": batch["image"][:9]})
    size = tk.cache.info("values").size
    tk.cache.set_limit(size + 100, "values")
    with refused(tk.InvalidInputError, "could not be stored in 'values'", "set_limit"):
        tk.FeatureBatch(make(), store="values")({"image": batch["image"][9:]})
    assert tk.cache.info("values").size >= size


def test_other_columns_are_not_changed(loaded: tk.TransferClassifier, photos: Path) -> None:
    path = str(photos / "new" / "red.png")
    columns: dict[str, Any] = {
        "path": [path, None],
        "hash": [b"a\0", b"b"],
        "mixed": ["a", 1],
        "large": [2**63, -1],
        "boxes": [[1, 2, 3], [4]],
        "pair": [[1, 2], [3, 4]],
        "number": [1, 2],
    }
    answer = tk.PredictBatch(loaded, image="path")(columns)
    for name, values in columns.items():
        assert [list(value) if isinstance(value, np.ndarray) else value for value in answer[name].tolist()] == values
    assert answer["number"].dtype.kind == "i"
    missing = tk.PredictBatch(loaded, image="path")({"path": np.array([float("nan")], object)})
    assert "path" in missing


@pytest.mark.thorough
def test_a_classifier_that_is_pickled_again_is_not_loaded_again(loaded: tk.TransferClassifier) -> None:
    predict = tk.PredictBatch(loaded)
    first = pickle.loads(pickle.dumps(predict))._source.get()
    time.sleep(2.1)  # a saved file contains times, to two seconds
    assert pickle.loads(pickle.dumps(predict))._source.get() is first
    loaded.network_.weights[-1].assign(loaded.network_.weights[-1] + 1)
    assert pickle.loads(pickle.dumps(predict))._source.get() is not first


def test_the_columns_do_not_depend_on_missing_values(loaded: tk.TransferClassifier, photos: Path) -> None:
    content = (photos / "new" / "red.png").read_bytes()
    predict = tk.PredictBatch(loaded, image="photo")
    first = predict({"photo": [content, None], "id": [1, 2]})
    assert first.keys() == predict({"photo": [None], "id": [1]}).keys() == predict({"photo": [], "id": []}).keys()
    predict = tk.PredictBatch(loaded, image="photo")
    first = predict({"photo": [str(photos / "new" / "red.png"), None]})
    assert "photo" in first
    assert first.keys() == predict({"photo": [None]}).keys() == predict({"photo": []}).keys()


def test_features_of_a_backbone_are_those_of_a_new_classifier(batch: dict[str, Any], photos: Path) -> None:
    clf = tk.TransferClassifier("TransferKitTiny").fit(photos / "train", verbose=0)
    expected = clf.transform(photo_paths(photos), verbose=0)
    for backbone in ("TransferKitTiny", tk.get_backbone("TransferKitTiny")):
        answer = tk.FeatureBatch(backbone, store="values", features=True)(batch)
        assert answer["features"] == pytest.approx(expected, abs=1e-4)
