"""The same photos give the same classifier, and validation images are ones that it was not trained on."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import transferkit as tk


@pytest.fixture(scope="module")
def listed(photos: Path) -> tuple[list[Path], list[str]]:
    paths = sorted((photos / "train").glob("*/*.png"))
    return paths, [path.parent.name for path in paths]


def probabilities(clf: tk.TransferClassifier, photos: Path) -> Any:
    return clf.predict_proba(photos / "test", verbose=0)


def test_neither_the_order_of_listing_nor_the_form_of_images_matters(make: Any, photos: Path, listed: Any) -> None:
    paths, labels = listed
    order = np.random.default_rng(3).permutation(len(paths))
    given: list[Any] = [
        (photos / "train", None),
        (paths, labels),
        ([str(paths[i]) for i in order], [labels[i] for i in order]),
        ([paths[i].read_bytes() for i in order], [labels[i] for i in order]),
        ([np.asarray(Image.open(paths[i]).convert("RGB")) for i in order], [labels[i] for i in order]),
        ([Image.open(paths[i]) for i in order], [labels[i] for i in order]),
    ]
    first, *others = [probabilities(make().fit(*data, epochs=3, verbose=0), photos) for data in given]
    for other in others:
        assert np.array_equal(first, other)


def test_the_seed_reaches_an_augmentation_of_the_users_own(make: Any, photos: Path) -> None:
    layer = keras.Sequential([keras.layers.RandomFlip(), keras.layers.RandomRotation(0.2)])
    results = []
    for _ in range(2):
        clf = make(augmentation=layer).fit(photos / "train", epochs=2, verbose=0)
        results.append(probabilities(clf, photos))
        layer(np.zeros((1, 8, 8, 3), np.float32), training=True)  # the user draws from it too
    assert np.array_equal(*results)


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


@pytest.mark.parametrize("validation", [None, "photos"])
def test_nothing_is_left_to_validate_on_is_an_error(make: Any, photos: Path, validation: str | None) -> None:
    given = None if validation is None else photos / "test"
    clf = make().fit(photos / "train", validation=given, epochs=1, verbose=0)
    with pytest.raises(tk.InvalidInputError, match="validation images must be new to it"):
        clf.fine_tune(photos / "train", at="stage2", epochs=1, verbose=0)
    clf.fine_tune(photos / "train", at="stage2", epochs=1, validation=0, verbose=0)
    clf.fine_tune(photos / "train", at="stage2", epochs=1, validation=photos / "test", verbose=0)


def test_class_weights_are_saved_and_can_be_given_to_fine_tune(make: Any, photos: Path, tmp_path: Path) -> None:
    weights = {"red": 5.0, "lying": 0.1}
    options: dict[str, Any] = {"at": "stage2", "epochs": 2, "learning_rate": 1e-2, "validation": 0, "verbose": 0}
    clf = make().fit(photos / "train", class_weight=weights, epochs=2, verbose=0)
    clf.save(tmp_path / "clf.keras")
    copies = [tk.TransferClassifier.load(tmp_path / "clf.keras") for _ in range(3)]
    for copy, given in zip(copies, (None, weights, {}), strict=True):
        copy.fine_tune(photos / "train", class_weight=given, **options)
    as_in_fit, given, without = (probabilities(copy, photos) for copy in copies)
    assert np.array_equal(as_in_fit, given)
    assert not np.allclose(as_in_fit, without, atol=1e-3)
    with pytest.raises(tk.InvalidInputError, match="gives every class the weight 0"):
        make().fit(photos / "train", class_weight=dict.fromkeys(clf.classes_.tolist(), 0), verbose=0)


@pytest.mark.parametrize("monitor", ["accuracy", "val_accuracy", "loss", "val_loss"])
@pytest.mark.parametrize("kind", [keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau])
def test_callbacks_may_monitor_each_metric(make: Any, photos: Path, kind: Any, monitor: str) -> None:
    callback = kind(
        monitor=monitor, patience=0, **({"min_delta": 1.0} if kind is keras.callbacks.EarlyStopping else {})
    )
    clf = make().fit(photos / "train", epochs=4, callbacks=[callback], verbose=0)
    if kind is keras.callbacks.EarlyStopping:  # nothing gains 1.0 in an epoch
        assert clf.history_.epochs == 2


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
