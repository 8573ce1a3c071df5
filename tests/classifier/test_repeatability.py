"""The same photos give the same classifier, and validation images are ones that it was not trained on."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from drawing import draw, exif, saved
from helpers import by_pillow, fresh_python, refused, steady
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

import transferkit as tk


def probabilities(clf: tk.TransferClassifier, photos: Path) -> Any:
    return clf.predict_proba(photos / "test", verbose=0)


FILES = 12
PATHS: list[Callable[[Path], Any]] = [str, Path]
IMAGES: list[Callable[[Path], Any]] = [
    Path.read_bytes,
    lambda path: Image.open(io.BytesIO(path.read_bytes())),
    lambda path: by_pillow(path.read_bytes()).astype(np.uint8),
]


@pytest.fixture(scope="module")
def odd_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, several sizes and formats: colour, grey, a palette, a JPEG that lies on its side."""
    root, rng = tmp_path_factory.mktemp("odd"), np.random.default_rng(5)
    for number in range(FILES):
        kind = ("lying", "red", "standing")[number % 3]
        image = Image.fromarray(draw(kind, rng, (40 + number, 60 - number)))
        way = ("color", "grey", "palette", "jpeg")[number // 3]
        (root / kind).mkdir(exist_ok=True)
        if way == "jpeg":
            (root / kind / f"{number:02d}.jpg").write_bytes(saved(image, "JPEG", exif=exif(6)))
        else:
            image = {"color": image, "grey": image.convert("L"), "palette": image.quantize(64)}[way]
            (root / kind / f"{number:02d}.png").write_bytes(saved(image, "PNG"))
    return root


def fitted_tiny(cache: bool, *data: Any) -> tk.TransferClassifier:
    clf = tk.TransferClassifier("TransferKitTiny", input_size=32, seed=0, cache=cache)
    return clf.fit(*data, validation=0.25, epochs=2, batch_size=4, verbose=0)


@pytest.fixture(scope="module")
def fitted_on_the_folder(odd_photos: Path) -> tk.TransferClassifier:
    return fitted_tiny(False, odd_photos)


@pytest.mark.thorough
@settings(steady, max_examples=8, phases=[Phase.generate])  # smaller examples would say no more, and take minutes
@given(
    order=st.permutations(range(FILES)),
    forms=st.sampled_from([PATHS, IMAGES]).flatmap(
        lambda some: st.lists(st.sampled_from(some), min_size=FILES, max_size=FILES)
    ),
    whole=st.sampled_from(["list", "series", "frame", "folder"]),
    step=st.integers(1, FILES),
    cache=st.booleans(),
)
def test_neither_order_nor_form_of_images_nor_their_number_in_a_call_matters(
    odd_photos: Path,
    fitted_on_the_folder: tk.TransferClassifier,
    order: list[int],
    forms: list[Callable[[Path], Any]],
    whole: str,
    step: int,
    cache: bool,
) -> None:
    files = [sorted(odd_photos.glob("*/*"))[at] for at in order]
    # Decoders differ by a level or two in the pixels of a JPEG: who passes pixels has chosen the decoder.
    encoded = [
        Path.read_bytes if form in IMAGES and file.suffix == ".jpg" else form
        for form, file in zip(forms, files, strict=True)
    ]
    images = [form(file) for form, file in zip(encoded, files, strict=True)]
    labels = [file.parent.name for file in files]
    data: dict[str, tuple[Any, ...]] = {
        "list": (images, labels),
        "series": (pd.Series(images, index=order), pd.Series(labels, index=order)),
        "frame": (pd.DataFrame({"image": images, "label": labels}, index=order),),
        "folder": (odd_photos,),
    }
    clf = fitted_tiny(cache, *data[whole])
    weights = fitted_on_the_folder.network_.get_weights()
    assert all(map(np.array_equal, clf.network_.get_weights(), weights))
    expected = fitted_on_the_folder.predict_proba(files, verbose=0)
    found = [clf.predict_proba(images[at : at + step], verbose=0) for at in range(0, FILES, step)]
    assert np.concatenate(found) == pytest.approx(expected, abs=1e-6)


SAME = """
import hashlib, os, random, sys, time
from drawing import drawn
import transferkit as tk
from transferkit.network.extractor import FeatureExtractor
compute = FeatureExtractor.__call__
def late(part, images):
    time.sleep(random.random() / 100)  # so that threads end in another order
    return compute(part, images)
FeatureExtractor.__call__ = late
if sys.argv[1]:
    os.sched_setaffinity(0, {int(sys.argv[1])})
def say(name, clf):
    figures = [(phase.metrics, phase.selection) for phase in clf.history_.phases]
    content = b"".join(weight.tobytes() for weight in clf.network_.get_weights()) + repr(figures).encode()
    print(name, hashlib.sha256(content).hexdigest(), flush=True)
images, labels = drawn(8, seed=3)
def fitted(augmentation=None, views=None, **given):
    clf = tk.TransferClassifier("TransferKitTiny", input_size=32, augmentation=augmentation, views=views, seed=0, cache=False)
    return clf.fit(images, labels, **given, verbose=0)
say("solved", clf := fitted())
say("steps", fitted(epochs=2))
say("augmented", fitted("light", epochs=2))
say("views", fitted("light", 2))
say("unlabelled", fitted(unlabelled=drawn(8, seed=5)[0]))
if sys.argv[2] == "tune":
    say("fine_tune", clf.fine_tune(steps=6, verbose=0))
"""


@pytest.mark.slow
def test_another_process_gives_the_same_to_the_last_bit() -> None:
    """Fit, in all its ways, and fine_tune; threads end in another order each time."""
    one, other = (fresh_python(SAME, "", "tune").splitlines() for _ in range(2))
    assert len(one) == 6
    assert one == other


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process to a core")
def test_fit_on_one_core_gives_the_same_to_the_last_bit() -> None:
    core = min(os.sched_getaffinity(0))
    assert fresh_python(SAME, core, "").splitlines() == fresh_python(SAME, "", "").splitlines()


@pytest.mark.thorough
def test_the_seed_reaches_an_augmentation_of_the_users_own(make: Any, photos: Path) -> None:
    layer = keras.Sequential([keras.layers.RandomFlip(), keras.layers.RandomRotation(0.2)])
    results = []
    for _ in range(2):
        clf = make(augmentation=layer).fit(photos / "train", epochs=2, verbose=0)
        results.append(probabilities(clf, photos))
        layer(np.zeros((1, 8, 8, 3), np.float32), training=True)  # the user draws from it too
    assert np.array_equal(*results)


@pytest.mark.thorough
def test_fine_tuning_after_load_is_fine_tuning_without_it(make: Any, photos: Path, tmp_path: Path) -> None:
    clf = make(dropout=0.5).fit(photos / "train", epochs=2, verbose=0)
    clf.save(tmp_path / "clf.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "clf.keras")
    for one in (clf, loaded):
        one.fine_tune(photos / "train", at="stage2", epochs=2, learning_rate=1e-3, verbose=0)
    assert probabilities(clf, photos) == pytest.approx(probabilities(loaded, photos), abs=1e-5)


def validated(capsys: pytest.CaptureFixture[str]) -> int:
    found = re.search(r"(\d+) images that the classifier was not trained on before", capsys.readouterr().out)
    return int(found[1]) if found else 0


def test_images_known_from_training_do_not_validate(
    make: Any, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clf = make().fit(photos / "train", validation=0.1, epochs=1, verbose=0)
    held_out = len(clf._fitted.split.validation)
    clf.save(tmp_path / "clf.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "clf.keras")
    loaded.fine_tune(photos / "train", at="stage2", validation=0.3, epochs=1)
    assert validated(capsys) == held_out  # though 30 % would be more


@pytest.mark.thorough
def test_images_tuned_on_since_do_not_validate_again(
    make: Any, pictures: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = pictures
    clf = make().fit(images, labels, validation=0.5, epochs=1, verbose=0)
    clf.fine_tune(images[:30], labels[:30], at="stage2", validation=None, epochs=1, verbose=0)
    selection = clf.fine_tune(at="stage2", epochs=1, verbose=0).history_.phases[-1].selection
    assert 0 < selection.images <= 6
    clf.fine_tune(images, labels, at="stage2", validation=None, epochs=1, verbose=0)
    with pytest.raises(tk.InvalidInputError, match="validation images must be new to it"):
        clf.fine_tune(at="stage2", epochs=1, verbose=0)


@pytest.mark.thorough
@pytest.mark.parametrize("validation", [None, "photos"])
def test_nothing_is_left_to_validate_on_is_an_error(make: Any, photos: Path, validation: str | None) -> None:
    given = None if validation is None else photos / "test"
    clf = make().fit(photos / "train", validation=given, epochs=1, verbose=0)
    with pytest.raises(tk.InvalidInputError, match="validation images must be new to it"):
        clf.fine_tune(photos / "train", at="stage2", epochs=1, validation=0.15, verbose=0)
    clf.fine_tune(photos / "train", at="stage2", epochs=1, validation=0, verbose=0)
    clf.fine_tune(photos / "train", at="stage2", epochs=1, validation=photos / "test", verbose=0)


@pytest.mark.thorough
def test_class_weights_are_saved_and_can_be_given_to_fine_tune(make: Any, photos: Path, tmp_path: Path) -> None:
    weights = {"red": 5.0, "lying": 0.1}
    options: dict[str, Any] = {"at": "stage2", "epochs": 2, "learning_rate": 1e-2, "validation": 0, "verbose": 0}
    clf = make().fit(photos / "train", class_weight=weights, epochs=2, verbose=0)
    clf.save(tmp_path / "clf.keras")
    copies = [tk.TransferClassifier.load(tmp_path / "clf.keras") for _ in range(3)]
    for copy, weight in zip(copies, (None, weights, {}), strict=True):
        copy.fine_tune(photos / "train", class_weight=weight, **options)
    as_in_fit, stated, without = (probabilities(copy, photos) for copy in copies)
    assert np.array_equal(as_in_fit, stated)
    assert not np.allclose(as_in_fit, without, atol=1e-3)
    with pytest.raises(tk.InvalidInputError, match="gives every class the weight 0"):
        make().fit(photos / "train", class_weight=dict.fromkeys(clf.classes_.tolist(), 0), verbose=0)


@pytest.mark.thorough
@pytest.mark.parametrize("monitor", ["accuracy", "val_accuracy", "loss", "val_loss"])
@pytest.mark.parametrize("kind", [keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau])
def test_callbacks_may_monitor_each_metric(make: Any, photos: Path, kind: Any, monitor: str) -> None:
    callback = kind(
        monitor=monitor, patience=0, **({"min_delta": 1.0} if kind is keras.callbacks.EarlyStopping else {})
    )
    clf = make().fit(photos / "train", epochs=4, callbacks=[callback], verbose=0)
    if kind is keras.callbacks.EarlyStopping:  # nothing gains 1.0 in an epoch
        assert clf.history_.epochs == 2


@pytest.mark.thorough
def test_many_fits_in_a_process_do_not_warn_of_retracing(
    make: Any, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for seed in range(7):
            make(seed=seed).fit(photos / "train", epochs=1, batch_size=8, verbose=0)
    assert "retracing" not in caplog.text


def test_an_input_size_that_no_machine_could_hold_is_refused(make: Any, photos: Path) -> None:
    with pytest.raises(tk.InvalidInputError, match="`input_size=100000` must be at most 10000 pixels"):
        make(input_size=100_000).fit(photos / "train", verbose=0)


@pytest.mark.parametrize(
    "form",
    [pytest.param("float32", marks=pytest.mark.thorough), pytest.param("int64", marks=pytest.mark.thorough), "files"],
)
def test_folds_do_not_depend_on_the_form(make: Any, pictures: Any, tmp_path: Path, form: str) -> None:
    x, y = pictures
    others: Any = x.astype(form) if form != "files" else [tmp_path / f"{number}.png" for number in range(len(x))]
    if form == "files":
        for path, picture in zip(others, x, strict=True):
            Image.fromarray(picture).save(path)
    labels = [["red"] if name == "red" else ["line", "tall"] if number % 5 else [] for number, name in enumerate(y)]
    for names in (y, labels):
        one, two = (make(cache=False).fit(images, names, verbose=0) for images in (x, others))
        assert one.history_["val_loss"] == two.history_["val_loss"]
        assert np.array_equal(one.predict_proba(x, verbose=0), two.predict_proba(x, verbose=0))
        assert np.array_equal(one.network_.get_weights()[-1], two.network_.get_weights()[-1])


@pytest.mark.thorough
def test_arrays_of_equal_numbers_are_one_image(make: Any, pictures: Any) -> None:
    x, y = pictures
    clf = make().fit(x[:24], y[:24], verbose=0)
    with refused(tk.InvalidInputError, "validation images must be new"):
        make().fit(x[:24], y[:24], validation=(x[:24].astype("float32"), y[:24]), verbose=0)
    clf.fine_tune(x[:24].astype(">f8"), y[:24], at="stage2", steps=1, verbose=0)
    assert clf.history_.phases[1].validation_images == 0
    assert clf.history_.phases[1].selection.folds > 0


def test_with_views_and_validation_images_what_is_measured_is_unchanged(make: Any, pictures: Any) -> None:
    x, y = pictures
    darker = keras.layers.RandomBrightness(0.6, value_range=(0, 255), seed=1)
    clf = make(augmentation=darker, views=2).fit(x[:24], y[:24], validation=(x[24:], y[24:]), verbose=0)
    assert clf.history_["loss"][0] == pytest.approx(clf.evaluate(x[:24], y[:24], verbose=0).loss, abs=1e-4)
    assert clf.predict(x[:24], verbose=0).typicalities.mean() == pytest.approx(0.5, abs=0.15)
