"""Images that cannot be read, from the classifier's side: refused together, or left out without a trace."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
from drawing import picture, write
from faults import UNREADABLE, plant_odd, plant_unreadable
from helpers import MOBILENET, lock, refused
from networks import TINY

import transferkit as tk
from transferkit import checks
from transferkit.checks.report import Fault
from transferkit.features import extraction as features

Make = Callable[..., tk.TransferClassifier]

PIXELS: npt.NDArray[np.uint8] = np.stack([picture(seed, (32, 32)) for seed in range(8)])


class Epochs(keras.callbacks.Callback):
    """How many epochs began."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.begun += 1


def weights_of(clf: tk.TransferClassifier) -> list[npt.NDArray[Any]]:
    return [np.asarray(weight) for weight in clf.network_.get_weights()]


def same_weights(one: tk.TransferClassifier, other: tk.TransferClassifier) -> bool:
    """Whether two networks have the same weights, to the last bit."""
    pairs = list(zip(weights_of(one), weights_of(other), strict=True))
    return len(pairs) > 4 and all(np.array_equal(a, b) for a, b in pairs)


def plant(root: Path) -> dict[str, str]:
    """Files that cannot be read in a folder of classes, before, between and after the good ones; their kinds by path."""
    named = plant_unreadable(root / "red")
    for kind, name in (("lying", "00 before.png"), ("lying", "05 between.png"), ("standing", "zz after.png")):
        (root / kind / name).write_bytes(b"no image at all")
        named[str(root / kind / name)] = "not an image"
    return named


@pytest.fixture(scope="module")
def trained() -> tk.TransferClassifier:
    """A classifier for tests that leave it as it is; it knows TinyNet by its record, as the registry may be reset."""
    clf = tk.TransferClassifier(TINY, weights=None, cache=False, seed=0)
    return clf.fit(PIXELS, ["lying", "red", "standing", "red"] * 2, epochs=1, verbose=0)


@pytest.fixture
def clean(photos: Path, tmp_path: Path) -> Path:
    """train/ and test/ without faults."""
    root = tmp_path / "clean"
    for name in ("train", "test"):
        shutil.copytree(photos / name, root / name)
    return root


@pytest.fixture
def spoilt(clean: Path, tmp_path: Path) -> tuple[Path, dict[str, str], dict[str, str]]:
    """The same photos with others among them that cannot be read, and the kinds of these by path, for each folder."""
    root = tmp_path / "spoilt"
    shutil.copytree(clean, root)
    return root, plant(root / "train"), plant(root / "test")


Spoilt = tuple[Path, dict[str, str], dict[str, str]]

WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "without a cache": {"cache": False},
    "augmented in each epoch": {"augmentation": "light"},
    "two views": {"augmentation": "light", "views": 2},
}


# ---- refused ----


@pytest.mark.thorough
@pytest.mark.parametrize("way", ["as it is", "augmented in each epoch", "two views"])
def test_fit_names_all_bad_images_of_both_sets_before_the_first_epoch(make: Make, spoilt: Spoilt, way: str) -> None:
    root, training, validation = spoilt
    epochs = Epochs()
    clf = make(**WAYS[way])
    with refused(tk.ImageReadError, f"{len(training) + len(validation)} images", "on_bad_image='skip'") as caught:
        clf.fit(root / "train", validation=root / "test", epochs=2, callbacks=[epochs], verbose=0)
    assert caught.value.kinds == training | validation
    assert caught.value.failures.keys() == caught.value.kinds.keys()
    assert all(caught.value.failures.values())
    assert epochs.begun == 0
    assert not hasattr(clf, "history_")


def test_one_bad_image_is_named_with_the_way_to_go_on(make: Make, clean: Path) -> None:
    (clean / "train" / "red" / "bad.png").write_bytes(b"")
    with refused(tk.ImageReadError, "bad.png", "the file is empty", "on_bad_image='skip'"):
        make().fit(clean / "train", epochs=1, verbose=0)


@pytest.mark.thorough
def test_a_classifier_that_was_fitted_before_is_still_what_it_was(make: Make, clean: Path, spoilt: Spoilt) -> None:
    clf = make().fit(clean / "train", epochs=2, verbose=0)
    weights, history, report = weights_of(clf), clf.history_, clf.report_
    expected = clf.predict_proba(clean / "test", verbose=0)
    with pytest.raises(tk.ImageReadError):
        clf.fit(spoilt[0] / "train", epochs=2, verbose=0)
    with pytest.raises(tk.ImageReadError):
        clf.fine_tune(spoilt[0] / "train", at="stage2", epochs=1, verbose=0)
    assert clf.history_ is history
    assert clf.report_ is report
    assert all(np.array_equal(a, b) for a, b in zip(weights, weights_of(clf), strict=True))
    assert np.array_equal(clf.predict_proba(clean / "test", verbose=0), expected)


@pytest.mark.parametrize("skip", ["x", None, True])
def test_another_policy_is_refused_before_any_work(make: Make, trained: tk.TransferClassifier, skip: object) -> None:
    wording = f"`on_bad_image={skip!r}`", "must be one of 'raise', 'skip'"
    with refused(tk.InvalidInputError, *wording):
        make().fit("nowhere", on_bad_image=skip)  # type: ignore[arg-type]
    for method in (trained.evaluate, trained.predict):
        with refused(tk.InvalidInputError, *wording):
            method("nowhere", on_bad_image=skip)
    with refused(tk.InvalidInputError, *wording):
        trained.fine_tune("nowhere", at="stage2", on_bad_image=skip)


# ---- left out ----


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("way", "given"), [*((way, False) for way in WAYS), ("as it is", True), ("augmented in each epoch", True)]
)
def test_skipping_gives_the_classifier_of_the_clean_folder(
    make: Make, clean: Path, spoilt: Spoilt, tmp_path: Path, way: str, given: bool
) -> None:
    root, training, validation = spoilt

    def fit(folder: Path, **options: Any) -> tk.TransferClassifier:
        # A cache for each, so that neither finds what the other computed.
        chosen = {"cache": tmp_path / f"cache of {folder.name}", **WAYS[way]}
        held_out = {"validation": folder / "test"} if given else {}
        clf = make(**chosen)
        return clf.fit(folder / "train", epochs=2, learning_rate=0.02, verbose=0, **held_out, **options)

    known, clf = fit(clean), fit(root, on_bad_image="skip")
    assert same_weights(clf, known)
    assert clf.history_["val_loss"] == known.history_["val_loss"]
    named = training | validation if given else training
    assert clf.history_.skipped.keys() == named.keys()
    assert all(clf.history_.skipped.values())
    faults = {fault.where: fault for fault in clf.report_.faults}
    assert {name: faults[name].kind for name in named} == named
    assert {name: faults[name].detail for name in named} == clf.history_.skipped
    assert known.history_.skipped == {}


@pytest.mark.thorough
@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_the_policy_changes_nothing_where_all_is_good(make: Make, clean: Path, policy: str) -> None:
    clf = make(cache=False).fit(clean / "train", epochs=2, on_bad_image=policy, verbose=0)
    assert same_weights(clf, make(cache=False).fit(clean / "train", epochs=2, verbose=0))
    assert clf.history_.skipped == {}
    assert clf.report_.ok


@pytest.mark.thorough
def test_skipping_works_where_features_lie_on_disk(
    make: Make, clean: Path, spoilt: Spoilt, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = make(cache=False).fit(clean / "train", epochs=2, verbose=0)
    monkeypatch.setattr(features, "MEMORY_BYTES", 1)
    for cache in (False, True):
        clf = make(cache=cache).fit(spoilt[0] / "train", epochs=2, on_bad_image="skip", verbose=0)
        assert same_weights(clf, known)
        with pytest.raises(tk.ImageReadError):
            make(cache=cache).fit(spoilt[0] / "train", epochs=2, verbose=0)


@pytest.mark.thorough
def test_balanced_weights_count_the_images_that_can_be_read(make: Make, clean: Path, spoilt: Spoilt) -> None:
    options: dict[str, Any] = {"epochs": 2, "class_weight": "balanced", "verbose": 0}
    clf = make().fit(spoilt[0] / "train", on_bad_image="skip", **options)
    assert same_weights(clf, make().fit(clean / "train", **options))


@pytest.mark.thorough
def test_listed_files_that_are_missing_are_left_out(make: Make, clean: Path, tmp_path: Path) -> None:
    paths = sorted((clean / "train").glob("*/*.png"))
    labels = [path.parent.name for path in paths]
    known = make().fit(paths, labels, epochs=1, verbose=0)
    missing = [tmp_path / "missing.png", tmp_path / "gone" / "a.png"]
    listed, listed_labels = [missing[0], *paths, missing[1]], ["red", *labels, "lying"]
    clf = make().fit(listed, listed_labels, epochs=1, on_bad_image="skip", verbose=0)
    assert same_weights(clf, known)
    assert clf.history_.skipped.keys() == {str(path) for path in missing}
    with refused(tk.InvalidInputError, "There is no file", "missing.png"):
        make().fit(listed, listed_labels, epochs=1, verbose=0)


@pytest.mark.thorough
def test_a_folder_that_cannot_be_looked_into_is_left_out_by_name(
    make: Make, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = make().fit(clean / "train", epochs=1, verbose=0)
    locked = clean / "train" / "red" / "locked"
    write(locked / "inside.png", 99)
    lock(monkeypatch, lambda name: name == locked.name)
    clf = make().fit(clean / "train", epochs=1, on_bad_image="skip", verbose=0)
    assert same_weights(clf, known)
    assert clf.history_.skipped == {str(locked): "Permission denied"}
    with refused(tk.InvalidInputError, "locked", "Permission denied"):
        make().fit(clean / "train", epochs=1, verbose=0)


def test_a_class_of_which_nothing_can_be_read_is_refused_by_name(make: Make, clean: Path) -> None:
    for path in (clean / "train" / "red").iterdir():
        path.write_bytes(b"")
    epochs = Epochs()
    with refused(tk.InvalidInputError, "None of the training images of the class 'red'", "check_images"):
        make().fit(clean / "train", on_bad_image="skip", callbacks=[epochs], verbose=0)
    assert epochs.begun == 0


def test_what_is_left_out_is_said_in_one_line(make: Make, spoilt: Spoilt, capsys: pytest.CaptureFixture[str]) -> None:
    clf = make().fit(spoilt[0] / "train", epochs=1, on_bad_image="skip")
    count = len(spoilt[1])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "left out" in line)
    assert line.startswith(f"Unreadable images left out: {count};")
    assert "history_.skipped" in line
    assert f"unreadable images left out: {count}" in str(clf.history_)


def test_images_in_memory_say_which_data_they_are_from(make: Make, photos: Path) -> None:
    files = sorted((photos / "train").glob("*/*.png"))
    contents, labels = [path.read_bytes() for path in files], [path.parent.name for path in files]
    spoilt = [b"not an image", *contents[1:]]
    held_out = sorted((photos / "test").glob("*/*.png"))
    others = [b"not an image", *(path.read_bytes() for path in held_out[1:])], [path.parent.name for path in held_out]
    clf = make().fit(spoilt, labels, validation=others, on_bad_image="skip", verbose=0)
    assert list(clf.history_.skipped) == ["image 0", "image 0 of the validation data"]
    with refused(tk.ImageReadError, "2 images cannot be read", "'image 0 of the validation data'"):
        make().fit(spoilt, labels, validation=others, verbose=0)


def test_answers_keep_the_positions_of_their_images(
    fitted: tk.TransferClassifier, photos: Path, tmp_path: Path
) -> None:
    contents = [path.read_bytes() for path in sorted((photos / "new").iterdir())]
    found = fitted.predict([b"not an image", *contents], on_bad_image="skip", verbose=0)
    assert (found.positions.tolist(), list(found.skipped)) == ([1, 2, 3], ["image 0"])
    assert [line.split()[1] for line in str(found).splitlines()[2:]] == ["1", "2", "3"]
    assert found[1:].positions.tolist() == [2, 3]
    labels = ["lying", "lying", "red", "standing"]
    evaluation = fitted.evaluate([b"not an image", *contents], labels, on_bad_image="skip", verbose=0)
    evaluation.html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "image 3" in page and "image 0" not in page


# ---- the report ----


def test_fit_finds_what_the_doctor_finds_alone(make: Make, clean: Path) -> None:
    plant_odd(clean / "train" / "red")
    shutil.copy(clean / "train" / "red" / "00.png", clean / "train" / "lying" / "again.png")
    (clean / "train" / "notes.txt").write_text("x")
    clf = make().fit(clean / "train", validation=clean / "test", epochs=1, verbose=0)
    known = tk.check_images(clean / "train", validation=clean / "test", verbose=0)

    def certain(report: checks.Report) -> set[Fault]:
        # What looks alike may differ with the size that images are brought to.
        return {fault for fault in report.faults if fault.kind != "near duplicate"}

    assert certain(clf.report_) == certain(known)
    assert clf.report_.counts == known.counts
    assert clf.report_.n_images == known.n_images
    assert "conflicting duplicate" in {fault.kind for fault in clf.report_.faults}


def test_the_report_of_fit_can_be_written_as_a_page(make: Make, spoilt: Spoilt, tmp_path: Path) -> None:
    clf = make().fit(spoilt[0] / "train", epochs=1, on_bad_image="skip", verbose=0)
    clf.report_.html(tmp_path / "report.html")
    assert all(name in (tmp_path / "report.html").read_text(encoding="utf-8") for name in spoilt[1])


@pytest.mark.thorough
@pytest.mark.parametrize("way", ["as it is", "two views"])
def test_copies_of_an_image_do_not_flatter_the_validation(make: Make, clean: Path, way: str) -> None:
    for path in sorted((clean / "train").glob("*/*.png")):
        for number in range(2):
            shutil.copy(path, path.with_name(f"{number} {path.name}"))
    clf = make(**WAYS[way]).fit(clean / "train", epochs=1, validation=0.3, verbose=0)
    sides = [clf._fitted.split.training, clf._fitted.split.validation]
    training, validation = ({Path(str(side.images.path(n))).read_bytes() for n in range(len(side))} for side in sides)
    assert len(training) + len(validation) == 36
    assert not training & validation
    assert sum(fault.kind == "duplicate" for fault in clf.report_.faults) == 72


@pytest.mark.thorough
def test_a_report_is_of_the_last_fit_and_not_of_a_file(make: Make, clean: Path, spoilt: Spoilt, tmp_path: Path) -> None:
    clf = make()
    with pytest.raises(AttributeError, match="report_ is available after fit"):
        clf.report_  # noqa: B018
    clf.fit(spoilt[0] / "train", epochs=1, on_bad_image="skip", verbose=0)
    assert not clf.report_.ok
    clf.save(tmp_path / "clf.keras")
    with zipfile.ZipFile(tmp_path / "clf.keras") as file:
        content = b"".join(file.read(name) for name in file.namelist())
    for name in spoilt[1]:
        assert Path(name).name.encode() not in content
    loaded = tk.TransferClassifier.load(tmp_path / "clf.keras")
    assert loaded.history_.skipped == {}
    with pytest.raises(AttributeError, match=r"is not saved.*check_images"):
        loaded.report_  # noqa: B018
    assert not hasattr(loaded, "report_")
    assert clf.fit(clean / "train", epochs=1, verbose=0).report_.ok
    assert clf.history_.skipped == {}


# ---- fine-tuning ----


@pytest.mark.thorough
def test_fine_tuning_on_new_data_leaves_bad_images_out(make: Make, clean: Path, spoilt: Spoilt) -> None:
    root, _, named = spoilt
    known, clf = (make(cache=False).fit(clean / "train", epochs=1, verbose=0) for _ in range(2))
    options: dict[str, Any] = {"at": "stage2", "epochs": 1, "learning_rate": 1e-3, "verbose": 0}
    known.fine_tune(clean / "test", **options)
    report = clf.report_
    epochs = Epochs()
    with refused(tk.ImageReadError, f"{len(named)} images", "on_bad_image='skip'") as caught:
        clf.fine_tune(root / "test", callbacks=[epochs], **options)
    assert caught.value.kinds == named
    assert epochs.begun == 0
    assert clf.report_ is report
    clf.fine_tune(root / "test", on_bad_image="skip", **options)
    assert same_weights(clf, known)
    assert clf.history_.phases[0].skipped == {}
    assert clf.history_.skipped.keys() == clf.history_.phases[1].skipped.keys() == named.keys()
    assert {fault.where for fault in clf.report_.faults if fault.serious} == named.keys()


@pytest.mark.thorough
def test_fine_tuning_goes_on_without_what_fit_left_out(make: Make, clean: Path, spoilt: Spoilt) -> None:
    options: dict[str, Any] = {"at": "stage2", "epochs": 1, "learning_rate": 1e-3, "verbose": 0}
    known = make().fit(clean / "train", epochs=1, verbose=0).fine_tune(**options)
    clf = make().fit(spoilt[0] / "train", epochs=1, on_bad_image="skip", verbose=0)
    report = clf.report_
    clf.fine_tune(**options)
    assert same_weights(clf, known)
    assert clf.report_ is report
    assert clf.history_.skipped.keys() == spoilt[1].keys()
    assert clf.history_.phases[1].skipped == {}


@pytest.mark.thorough
def test_fine_tuning_with_other_validation_data_looks_at_them(make: Make, spoilt: Spoilt) -> None:
    root, _, named = spoilt
    clf = make().fit(root / "train", epochs=1, on_bad_image="skip", verbose=0)
    options: dict[str, Any] = {"at": "stage2", "epochs": 1, "validation": root / "test", "verbose": 0}
    with pytest.raises(tk.ImageReadError) as caught:
        clf.fine_tune(**options)
    assert caught.value.kinds == named
    clf.fine_tune(on_bad_image="skip", **options)
    assert clf.history_.phases[1].skipped.keys() == named.keys()


@pytest.mark.thorough
def test_a_loaded_classifier_leaves_bad_images_of_new_data_out(make: Make, clean: Path, spoilt: Spoilt) -> None:
    make().fit(clean / "train", epochs=1, verbose=0).save("clf.keras")
    clf = tk.TransferClassifier.load("clf.keras")
    clf.fine_tune(spoilt[0] / "train", at="stage2", epochs=1, on_bad_image="skip", verbose=0)
    assert clf.history_.skipped.keys() == spoilt[1].keys()
    assert not clf.report_.ok


# ---- evaluating and predicting ----


def test_an_evaluation_is_of_the_images_that_can_be_read(
    trained: tk.TransferClassifier, clean: Path, spoilt: Spoilt
) -> None:
    root, _, named = spoilt
    known = trained.evaluate(clean / "test", verbose=0)
    with pytest.raises(tk.ImageReadError) as caught:
        trained.evaluate(root / "test", verbose=0)
    assert caught.value.kinds == named
    result = trained.evaluate(root / "test", on_bad_image="skip", verbose=0)
    assert (result.accuracy, result.loss) == (known.accuracy, known.loss)
    assert np.array_equal(result.confusion_matrix, known.confusion_matrix)
    assert result.predictions.skipped.keys() == named.keys()
    assert [Path(path).name for path in result.predictions.paths] == [
        Path(path).name for path in known.predictions.paths
    ]
    assert known.predictions.skipped == {}


def test_an_evaluation_of_nothing_is_an_error_with_the_reasons(trained: tk.TransferClassifier, tmp_path: Path) -> None:
    for kind in ("red", "lying"):
        (tmp_path / "bad" / kind).mkdir(parents=True)
        (tmp_path / "bad" / kind / "empty.jpg").write_bytes(b"")
    with refused(tk.ImageReadError, "2 images cannot be read", "No image is left to evaluate") as caught:
        trained.evaluate(tmp_path / "bad", on_bad_image="skip", verbose=0)
    assert list(caught.value.failures.values()) == ["the file is empty"] * 2


@pytest.mark.parametrize("cache", [True, False])
def test_predictions_are_of_the_images_that_can_be_read_in_their_order(
    trained: tk.TransferClassifier, clean: Path, spoilt: Spoilt, monkeypatch: pytest.MonkeyPatch, cache: bool
) -> None:
    root, _, named = spoilt
    monkeypatch.setattr(trained, "cache", cache)
    known = trained.predict(clean / "test", verbose=0)
    with pytest.raises(tk.ImageReadError) as caught:
        trained.predict(root / "test", verbose=0)
    assert caught.value.kinds == named
    result = trained.predict(root / "test", on_bad_image="skip", verbose=0)
    assert np.array_equal(result.probabilities, known.probabilities)
    assert [str(Path(path).relative_to(root)) for path in result.paths] == [
        str(Path(path).relative_to(clean)) for path in known.paths
    ]
    assert result.skipped.keys() == named.keys()
    assert not set(result.paths) & named.keys()
    assert len(result.labels) == len(result.confidences) == len(result) == 18


def test_predictions_of_nothing_that_can_be_read_are_empty(trained: tk.TransferClassifier, tmp_path: Path) -> None:
    named = plant_unreadable(tmp_path)
    for given in (tmp_path, [Path(name) for name in named], next(iter(named))):
        result = trained.predict(given, on_bad_image="skip", verbose=0)
        assert len(result) == len(result.labels) == len(result.confidences) == 0
        assert result.probabilities.shape == (0, 3)
        assert result.skipped.keys() <= named.keys()
        assert len(result.skipped) == (1 if isinstance(given, str) else len(UNREADABLE))
        assert len(result.to_dataframe()) == 0


def test_paths_that_do_not_exist_are_left_out_of_predictions(trained: tk.TransferClassifier, photos: Path) -> None:
    good = photos / "new" / "red.png"
    result = trained.predict(["missing.png", good], on_bad_image="skip", verbose=0)
    assert result.paths == [str(good)]
    assert list(result.skipped) == ["missing.png"]
    assert np.array_equal(result.probabilities, trained.predict(good, verbose=0).probabilities)


def test_arrays_can_always_be_read(trained: tk.TransferClassifier) -> None:
    result = trained.predict(PIXELS, on_bad_image="skip", verbose=0)
    assert len(result) == 8
    assert result.skipped == {}


def test_bytes_are_predicted_like_their_files(trained: tk.TransferClassifier, photos: Path) -> None:
    paths = sorted((photos / "new").iterdir())
    given = [path.read_bytes() for path in paths]
    result = trained.predict([b"no image", *given], on_bad_image="skip", verbose=0)
    assert result.skipped == {"image 0": "it is not an image of a known format"}
    assert result.paths == [None] * len(paths)
    assert np.array_equal(result.probabilities, trained.predict(paths, verbose=0).probabilities)


def test_bytes_are_training_data_with_labels(make: Make, clean: Path) -> None:
    paths = sorted((clean / "train").glob("*/*.png"))
    labels = [path.parent.name for path in paths]
    files = [path.read_bytes() for path in paths]
    known = make().fit(files, labels, epochs=1, validation=None, verbose=0)
    clf = make().fit([b"", *files], ["red", *labels], epochs=1, validation=None, on_bad_image="skip", verbose=0)
    assert same_weights(clf, known)
    assert clf.history_.skipped == {"image 0": "the file is empty"}
    assert [fault.kind for fault in clf.report_.faults if fault.serious] == ["empty file"]


def test_a_folder_that_cannot_be_looked_into_is_named_in_predictions(
    trained: tk.TransferClassifier, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = clean / "test" / "red" / "locked"
    write(locked / "inside.png", 99)
    lock(monkeypatch, lambda name: name == locked.name)
    assert trained.predict(clean / "test", on_bad_image="skip", verbose=0).skipped == {str(locked): "Permission denied"}
    result = trained.evaluate(clean / "test", on_bad_image="skip", verbose=0)
    assert result.predictions.skipped == {str(locked): "Permission denied"}


# ---- real photos ----


@pytest.mark.slow
def test_twenty_kinds_of_bad_files_among_a_thousand_photos(assets: Path, tmp_path: Path) -> None:
    weights = assets / "weights" / MOBILENET
    clean, spoilt = tmp_path / "clean", tmp_path / "spoilt"
    for label in ("cats", "dogs"):
        paths = sorted((assets / "data/cats_dogs/train" / label).iterdir())
        for root in (clean, spoilt):
            (root / label).mkdir(parents=True)
            for path in paths[:500]:
                _linked(path, root / label / path.name)
    named = {}
    for number, name in enumerate(UNREADABLE):
        kind, plant_one = UNREADABLE[name]
        # Names that stand between those of the photos.
        place = spoilt / ("cats", "dogs")[number % 2] / f"{('cat', 'dog')[number % 2]}.{number * 37} {name}"
        plant_one(place)
        named[str(place)] = kind
    assert len(named) == 20

    def fit(folder: Path, **options: Any) -> tk.TransferClassifier:
        clf = tk.TransferClassifier("MobileNetV2", weights=weights, cache=tmp_path / f"cache {folder.name}", seed=0)
        return clf.fit(folder, epochs=5, verbose=0, **options)

    epochs = Epochs()
    with refused(tk.ImageReadError, "20 images cannot be read") as caught:
        fit(spoilt, callbacks=[epochs])
    assert caught.value.kinds == named
    assert epochs.begun == 0

    report = tk.check_images(spoilt, cache=False, verbose=0)
    assert {fault.where: fault.kind for fault in report.faults if fault.serious} == named
    assert report.n_images == 1020

    known, clf = fit(clean), fit(spoilt, on_bad_image="skip")
    assert clf.history_.skipped.keys() == named.keys()
    assert {fault.where: fault.kind for fault in clf.report_.faults if fault.serious} == named
    assert same_weights(clf, known)
    test = assets / "data/cats_dogs/test"
    results = [one.evaluate(test, verbose=0) for one in (clf, known)]
    assert results[0].accuracy == results[1].accuracy > 0.95
    assert results[0].loss == results[1].loss


def _linked(source: Path, target: Path) -> None:
    """The same file under another name; a copy where it lies on another disk."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy(source, target)


def test_unlabelled_images_in_memory_have_names_of_their_own(make: Make, pictures: Any) -> None:
    x, y = pictures
    unlabelled = [*x[24:26], b"not an image"]
    clf = make().fit([*x[:23], b""], y[:24], unlabelled=unlabelled, on_bad_image="skip", verbose=0)
    assert set(clf.history_.skipped) == {"image 23", "image 2 of the unlabelled data"}
