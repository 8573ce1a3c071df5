"""Exported files give the classifier's answers in their own runtimes, and `export` measures that before it keeps them."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import Make
from helpers import refused
from networks import TINY

import transferkit as tk
from transferkit.export import exporting, formats

Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]

NEEDS = "the packages of transferkit's extra {}, of the group dev, are not installed"
SLOW = {"LiteRT": pytest.mark.slow}  # its converter starts a process; the page of the documentation runs it, too
NAMES = {"SavedModel": "pets", "ONNX": "pets.onnx", "LiteRT": "pets.tflite", "OpenVINO": "pets.xml"}


def needed(kind: str) -> None:
    """Skips where a format's packages are missing."""
    packages = {"ONNX": ["tf2onnx", "onnxruntime"], "LiteRT": ["ai_edge_litert"], "OpenVINO": ["openvino"]}
    for package in packages.get(kind, []):
        pytest.importorskip(package, reason=NEEDS.format(kind.lower()))


def opened(path: Path) -> Run:
    """A file as its users open it."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        return lambda pixels: np.asarray(session.run(None, {"image": pixels})[0])
    if path.suffix == ".tflite":
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(str(path)).get_signature_runner()
        return lambda pixels: np.asarray(runner(image=pixels)["output_0"])
    if path.suffix == ".xml":
        import openvino

        model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda pixels: np.asarray(model(pixels)[0])
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    return lambda pixels: np.asarray(loaded.signatures["serving_default"](image=tf.constant(pixels))["output_0"])


# ---- what the files give ----


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=SLOW.get(kind, ())) for kind in NAMES])
def test_a_file_gives_the_answers_of_the_classifier(kind: str, loaded: tk.TransferClassifier, photos: Path) -> None:
    needed(kind)
    path = Path(NAMES[kind])
    report = loaded.export(path, check=photos / "test", verbose=0)
    assert (report.format, report.path, report.images, report.note) == (kind, path, 18, "")
    assert report.difference <= 1e-4
    assert report.same_answers == 1.0
    assert report.accuracy == report.accuracy_before == loaded.score(photos / "test")
    assert report.milliseconds > 0 < report.milliseconds_before
    pixels = np.random.default_rng(0).uniform(0, 255, (5, 32, 32, 3)).astype(np.float32)
    run, expected = opened(path), loaded.predict_proba(pixels, verbose=0)
    for count in (5, 1):
        np.testing.assert_allclose(run(pixels[:count]), expected[:count], atol=1e-4)
    assert json.loads(report.labels_path.read_text()) == {
        "labels": ["lying", "red", "standing"],
        "input_size": [32, 32],
        "resize": "squash",
    }
    written = {"pets.labels.json", path.name} | ({"pets.bin"} if kind == "OpenVINO" else set())
    assert {made.name for made in Path().iterdir()} == written
    sizes = [part.stat().st_size for part in Path().rglob("*") if part.is_file() and part.suffix != ".json"]
    assert report.size == sum(sizes)


@pytest.mark.parametrize(
    "kind",
    ["SavedModel", *(pytest.param(kind, marks=SLOW.get(kind, pytest.mark.thorough)) for kind in list(NAMES)[1:])],
)
def test_a_file_of_several_labels_gives_those_of_the_classifier_by_its_thresholds(
    kind: str, make: Make, pictures: Any
) -> None:
    needed(kind)
    images, names = pictures
    labels = [[] if name == "red" else ["line", name] for name in names]
    clf = make(cache=False).fit(images, labels, verbose=0)
    expected: Any = clf.predict(images, verbose=0)
    wrong = 3  # images whose labels are said to be others
    told = [["line"], *[["lying", "standing"]] * (wrong - 1), *expected.labels[wrong:]]
    path = Path(NAMES[kind])
    report = clf.export(path, check=images, labels=told, verbose=0)
    assert report.difference <= 1e-4
    assert report.same_answers == 1.0
    assert report.accuracy == report.accuracy_before == (len(images) - wrong) / len(images)
    about = json.loads(report.labels_path.read_text())
    assert about["thresholds"] == expected.thresholds.tolist() != [0.5] * 3
    given = opened(path)(images.astype(np.float32)) >= about["thresholds"]
    assert [set(np.array(about["labels"])[row]) for row in given] == [set(found) for found in expected.labels]


@pytest.mark.thorough
def test_onnx_keeps_preprocessing_by_means(make: Make, pictures: Any) -> None:
    """TensorFlow keeps the means outside of the graph, so tf2onnx takes them for inputs."""
    needed("ONNX")
    tk.register_backbone(dataclasses.replace(TINY, name="TinyMeans", preprocessing="torch"))
    clf = make(backbone="TinyMeans").fit(*pictures, verbose=0)
    assert clf.export("pets.onnx", verbose=0).difference <= 1e-4
    pixels = np.full((1, 32, 32, 3), 200, np.float32)
    np.testing.assert_allclose(opened(Path("pets.onnx"))(pixels), clf.predict_proba(pixels, verbose=0), atol=1e-4)


@pytest.mark.thorough
def test_onnx_and_openvino_files_contain_the_class_names(loaded: tk.TransferClassifier) -> None:
    needed("ONNX")
    needed("OpenVINO")
    import onnxruntime
    import openvino

    loaded.export("pets.onnx", verbose=0)
    stored = onnxruntime.InferenceSession("pets.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(stored["labels"]) == ["lying", "red", "standing"]
    assert set(stored) == {"labels", "input_size", "resize"}
    loaded.export("pets.xml", verbose=0)
    model = openvino.Core().read_model("pets.xml")
    assert json.loads(model.get_rt_info(["transferkit", "labels"]).value) == ["lying", "red", "standing"]


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int8"])
def test_quantized_files_of_real_photos_are_as_accurate(quantize: Any, assets: Path) -> None:
    needed("LiteRT")
    folder = assets / "data" / "flowers"
    clf = tk.TransferClassifier("TransferKitTiny", seed=0).fit(folder / "train", verbose=0)
    whole = clf.export("flowers.tflite", check=folder / "test", verbose=0)
    small = clf.export("small.tflite", check=folder / "test", quantize=quantize, verbose=0)
    assert small.accuracy is not None and whole.accuracy is not None
    assert small.accuracy >= whole.accuracy - 0.021
    assert small.size < whole.size / (1.8 if quantize == "float16" else 3)


# ---- what it is compared on ----


@pytest.mark.thorough
def test_without_check_it_is_compared_on_validation_images(fitted: tk.TransferClassifier) -> None:
    report = fitted.export("pets", verbose=0)  # a quarter was held out
    assert (report.images, report.note) == (9, "The images are validation images of fit.")


@pytest.mark.thorough
def test_without_validation_images_it_is_compared_on_training_images(make: Make, pictures: Any) -> None:
    images, names = pictures
    numbers = [10 if name == "red" else 2 for name in names]
    clf = make().fit(images, numbers, verbose=0)
    report = clf.export("digits_v1.2", verbose=0)
    assert (report.images, report.note) == (36, "The images are training images of fit.")
    assert report.accuracy == clf.score(images, numbers)
    assert json.loads(Path("digits_v1.2.labels.json").read_text())["labels"] == [2, 10]


@pytest.mark.thorough
def test_without_any_photos_it_is_compared_on_noise_and_says_so(loaded: tk.TransferClassifier) -> None:
    report = loaded.export("pets", verbose=0)
    assert report.accuracy is None is report.accuracy_before
    assert "noise" in report.note
    assert report.note in str(report)


@pytest.mark.thorough
def test_photos_without_labels_are_compared_without_accuracy(
    loaded: tk.TransferClassifier, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = loaded.export("pets", check=photos / "new")
    assert capsys.readouterr().out == "export writes pets (SavedModel) and compares it on 3 images.\n"
    assert (report.images, report.accuracy) == (3, None)
    assert report.note.startswith("Accuracy was not measured. ")
    assert pickle.loads(pickle.dumps(report)) == report
    assert repr(report).startswith("<ExportReport: pets (SavedModel, ")
    assert "<td>milliseconds per image</td>" in report._repr_html_()


@pytest.mark.thorough
def test_photos_may_come_with_labels(loaded: tk.TransferClassifier, photos: Path) -> None:
    report = loaded.export("pets", check=[photos / "new" / "red.png"], labels=["lying"], verbose=0)
    assert (report.images, report.accuracy, report.note) == (1, 0.0, "")
    assert "accuracy" in str(report)


def test_a_photo_that_cannot_be_read_is_named_before_anything_is_written(
    loaded: tk.TransferClassifier, photos: Path
) -> None:
    Path("a.jpg").write_bytes(b"")
    Path("b.jpg").write_text("no photo")
    with refused(tk.ImageReadError, "a.jpg", "b.jpg") as caught:
        loaded.export("pets", check=["a.jpg", photos / "new" / "red.png", "b.jpg"], verbose=0)
    assert set(caught.value.failures) == {"a.jpg", "b.jpg"}
    assert not Path("pets").exists()


# ---- what is refused ----


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("path", "options", "parts"),
    [
        ("pets.h5", {}, ["pets.h5", "must end in .onnx, .tflite or .xml", "pets.onnx"]),
        ("pets.keras", {}, ["must end in"]),
        ("nowhere/pets.onnx", {}, ["is in a folder that does not exist"]),
        ("s3://models/pets.onnx", {}, ["s3://models/pets.onnx", "is a URL", "on this machine"]),
        ("", {}, ["must be the path of a file or a folder"]),
        (7, {}, ["must be the path of a file or a folder"]),
        ("photos", {}, ["is a folder with other files"]),
        ("a_file", {}, ["is a file: a SavedModel is a folder"]),
        ("pets", {"quantize": "int8"}, ["quantize='int8'", "SavedModel", "'.tflite'"]),
        ("pets", {"quantize": "int4"}, ["must be one of 'float16', 'dynamic', 'int8'"]),
        ("pets", {"quantize": ["int8"]}, ["must be one of"]),
        ("pets", {"labels": ["red"]}, ["was given without check"]),
        ("pets", {"calibrate": "photos"}, ["needs no photos"]),
        ("pets", {"check": []}, ["check", "holds no images"]),
        ("pets", {"check": "nowhere"}, ["nowhere"]),
        ("pets", {"check": ["photos/a.txt"], "labels": ["blue"]}, ["'blue'"]),
        ("pets", {"verbose": 3}, ["verbose=3"]),
    ],
)
def test_bad_arguments_are_refused(path: Any, options: Any, parts: list[str], loaded: tk.TransferClassifier) -> None:
    Path("photos").mkdir()
    Path("photos/a.txt").touch()
    Path("a_file").touch()
    with pytest.raises(tk.InvalidInputError) as caught:
        loaded.export(path, **{"verbose": 0, **options})
    assert all(part in str(caught.value) for part in parts)
    assert {made.name for made in Path().iterdir()} == {"photos", "a_file"}


def test_int8_needs_photos_to_calibrate_on(loaded: tk.TransferClassifier) -> None:
    needed("LiteRT")
    with refused(tk.InvalidInputError, "quantize='int8'", "Pass calibrate=photos"):
        loaded.export("pets.tflite", quantize="int8", verbose=0)


@pytest.mark.parametrize(
    ("path", "package", "extra"),
    [
        ("a.onnx", "tf2onnx", "onnx"),
        ("a.ONNX", "onnxruntime", "onnx"),
        ("a.tflite", "ai_edge_litert", "litert"),
        ("a.xml", "openvino", "openvino"),
    ],
)
def test_a_missing_package_is_named_by_its_extra(
    path: str, package: str, extra: str, loaded: tk.TransferClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tf2onnx", "onnx", "onnxruntime", "ai_edge_litert", "openvino"):
        monkeypatch.setitem(sys.modules, name, None if name == package else sys)
    with refused(tk.MissingExtraError, f"pip install 'transferkit[{extra}]'"):
        loaded.export(path, verbose=0)


def test_an_unfitted_classifier_cannot_be_exported(make: Make) -> None:
    with refused(tk.NotFittedError, "export needs a fitted classifier"):
        make().export("pets")


# ---- what a failure leaves ----


@pytest.mark.thorough
def test_a_file_is_replaced_but_not_by_one_that_gives_other_probabilities(
    loaded: tk.TransferClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("pets").mkdir()
    Path("pets/saved_model.pb").touch()  # an older one, which the first export replaces
    Path("pets/notes.md").touch()
    Path("pets.labels.json").write_text("old")
    with refused(tk.InvalidInputError, "'pets'", "other files, which would be lost"):
        loaded.export("pets", verbose=0)
    Path("pets/notes.md").unlink()
    report = loaded.export("pets", verbose=0)
    assert json.loads(report.labels_path.read_text())["labels"]
    before = Path("pets/saved_model.pb").read_bytes()
    replace_writer(monkeypatch, write_another)
    with refused(tk.ExportError, "SavedModel", "differ by", "at most 0.001", "it was not kept"):
        loaded.export("pets", verbose=0)
    with refused(tk.ExportError):
        loaded.export("others", verbose=0)
    assert Path("pets/saved_model.pb").read_bytes() == before
    assert {made.name for made in Path().iterdir()} == {"pets", "pets.labels.json"}


def replace_writer(monkeypatch: pytest.MonkeyPatch, write: Any) -> None:
    """Let something else write what should be a SavedModel."""
    monkeypatch.setitem(formats.FORMATS, "", dataclasses.replace(formats.SAVED_MODEL, write=write))
    monkeypatch.setattr(formats, "SAVED_MODEL", formats.FORMATS[""])


def write_another(job: formats.Job, path: Path) -> None:
    """The network with another head."""
    import keras

    other = keras.models.clone_model(job.model)
    other.set_weights(job.model.get_weights())
    other.layers[-2].bias.assign([3.0, 0.0, 0.0])
    formats.write_saved_model(dataclasses.replace(job, model=other), path)


def test_a_network_that_cannot_be_converted_is_an_error(
    loaded: tk.TransferClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("Unsupported ops: Whatever")

    replace_writer(monkeypatch, fails)
    with refused(tk.ExportError, "cannot be converted to SavedModel (Unsupported ops: Whatever)"):
        loaded.export("pets", verbose=0)
    assert not list(Path().iterdir())


def test_a_full_disk_is_an_error_that_names_the_path(
    loaded: tk.TransferClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def full_for_a_converter(*_: object) -> None:
        raise RuntimeError("iostream error")

    for writer, free in ((full, 10**9), (full_for_a_converter, 1000)):
        with monkeypatch.context() as patch:
            replace_writer(patch, writer)
            patch.setattr("shutil.disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
            with refused(tk.ExportError, "'pets' cannot be written (No space left on device)"):
                loaded.export("pets", verbose=0)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["pets", "pets.labels.json"])
def test_a_move_that_fails_leaves_the_earlier_export(
    name: str, loaded: tk.TransferClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded.export("pets", verbose=0)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    Path("pets.labels.json").write_text("those of before")
    before[Path("pets.labels.json")] = b"those of before"
    replace = Path.replace

    def fails(self: Path, target: Path) -> Path:
        if "new" in self.parts and self.name == name:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with refused(tk.ExportError, "No space left"):
        loaded.export("pets", verbose=0)
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.mark.thorough
def test_the_labels_of_another_export_are_not_overwritten(
    loaded: tk.TransferClassifier, make: Make, pictures: Any
) -> None:
    needed("pets.onnx")
    labels = loaded.export("pets", verbose=0).labels_path
    before = labels.read_text()
    other = make().fit(pictures[0], np.char.add("not ", pictures[1].astype(str)), verbose=0)
    with refused(tk.InvalidInputError, "'pets.labels.json'", "Choose another name"):
        other.export("pets.onnx", verbose=0)
    assert labels.read_text() == before
    loaded.export("pets.onnx", verbose=0)  # has the same labels


@pytest.mark.thorough
def test_a_module_in_the_current_folder_is_not_run(
    loaded: tk.TransferClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed("pets.tflite")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    for module in ("numpy", "random"):
        Path(f"{module}.py").write_text("open('was_run', 'w').close()\n")
    loaded.export("pets.tflite", verbose=0)
    assert not Path("was_run").exists()


@pytest.mark.thorough
def test_a_quantized_file_that_is_less_accurate_warns(
    loaded: tk.TransferClassifier, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed("OpenVINO")
    monkeypatch.setattr(exporting, "LARGEST_LOSS", -1.0)
    with pytest.warns(UserWarning, match=r"'pets.xml', quantized to float16, gives an accuracy that is 0.0% lower"):
        loaded.export("pets.xml", quantize="float16", check=photos / "test", verbose=0)
    with pytest.warns(UserWarning, match=r"gives another answer on 0.0% of the images"):
        loaded.export("pets.xml", quantize="float16", verbose=0)


@pytest.mark.thorough
def test_labels_that_another_file_needs_do_not_change(loaded: tk.TransferClassifier, make: Make, pictures: Any) -> None:
    needed("ONNX")
    loaded.export("pets", verbose=0)
    labels = loaded.export("pets.onnx", verbose=0).labels_path
    before = labels.read_text()
    other = make().fit(pictures[0], np.char.add("not ", pictures[1].astype(str)), verbose=0)
    with refused(tk.InvalidInputError, "'pets.labels.json', which 'pets' needs"):
        other.export("pets.onnx", verbose=0)
    assert labels.read_text() == before
    shutil.rmtree("pets")
    assert other.export("pets.onnx", verbose=0).labels_path.read_text() != before


def test_a_file_of_the_user_is_not_taken_for_weights(loaded: tk.TransferClassifier) -> None:
    pytest.importorskip("openvino")
    Path("pets.bin").write_text("mine")
    with refused(tk.InvalidInputError, "would overwrite 'pets.bin'"):
        loaded.export("pets.xml", verbose=0)
    with refused(tk.InvalidInputError, "must end in .xml, in small letters"):
        loaded.export("pets.XML", verbose=0)


@pytest.mark.thorough
def test_one_photo_has_no_speed(loaded: tk.TransferClassifier, photos: Path) -> None:
    report = loaded.export("pets", check=[photos / "new" / "red.png"], verbose=0)
    assert np.isnan(report.milliseconds)
    assert [line.split()[3:] for line in str(report).splitlines() if "milliseconds" in line] == [["-", "-"]]
