"""A classifier and its file: the same answers elsewhere, and no trust in what a file says."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import zipfile
from typing import Any

import keras
import numpy as np
import pytest
from forging import with_manifest, with_member
from helpers import refused

import transferkit as tk
from transferkit.classifier import preparing


def test_load_gives_the_same_classifier(fitted, photos, tmp_path):
    fitted.save(tmp_path / "pets.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "pets.keras")
    expected = fitted.predict_proba(photos / "test", verbose=0)
    assert loaded.predict_proba(photos / "test", verbose=0) == pytest.approx(expected, abs=1e-6)
    assert loaded.classes_.tolist() == fitted.classes_.tolist()
    assert loaded.history_.phases == fitted.history_.phases
    assert loaded.backbone == "TinyNet"


def test_a_tilde_is_the_home_folder(fitted, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    fitted.save("~/pets.keras")
    assert (tmp_path / "pets.keras").is_file()
    loaded = tk.TransferClassifier.load("~/pets.keras")
    loaded.evaluate(photos / "test", verbose=0).html("~/report.html")
    assert (tmp_path / "report.html").is_file()


@pytest.mark.thorough
def test_keras_opens_it_without_transferkit(loaded, saved_file, photos, tmp_path):
    from transferkit.images.decoding import decode, resize

    x = np.stack([resize(decode(p.read_bytes()), (32, 32)) for p in sorted((photos / "new").iterdir())])
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, keras, numpy as np\n"
        "model = keras.saving.load_model('pets.keras')\n"
        "np.save('y.npy', model.predict(np.load('x.npy'), verbose=0))\n"
        "assert 'transferkit' not in sys.modules\n"
    )
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=tmp_path, env=env)
    expected = loaded.predict_proba(photos / "new", verbose=0)
    assert np.load(tmp_path / "y.npy") == pytest.approx(expected, abs=1e-5)


def test_a_loaded_classifier_goes_on_with_new_data(loaded, photos):
    with pytest.raises(tk.InvalidInputError, match="Pass data"):
        loaded.fine_tune(at="stage2", verbose=0)
    loaded.fine_tune(photos / "train", at="stage2", validation=0.15, epochs=1, verbose=0)
    assert [phase.name for phase in loaded.history_.phases] == ["fit", "fine_tune"]


@pytest.mark.thorough
def test_the_same_folder_is_divided_as_it_was(make, photos, tmp_path):
    clf = make(seed=None).fit(photos / "train", epochs=1, verbose=0)
    clf.save(tmp_path / "pets.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "pets.keras")
    seen = []
    original = vars(preparing)["check"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transferkit.classifier.preparing.check", lambda *a: seen.append(original(*a)) or seen[-1])
        loaded.fine_tune(photos / "train", at="stage2", validation=0.15, epochs=1, verbose=0)
    assert seen[0].split.validation.images.sources == clf._fitted.split.validation.images.sources
    assert loaded.seed is None


@pytest.mark.thorough
def test_after_fine_tuning_too(loaded, photos, tmp_path):
    loaded.fine_tune(photos / "train", at="stage1", epochs=2, learning_rate=1e-3, validation=0, verbose=0)
    loaded.save(tmp_path / "tuned.keras")
    again = tk.TransferClassifier.load(tmp_path / "tuned.keras")
    expected = loaded.predict_proba(photos / "test", verbose=0)
    assert again.predict_proba(photos / "test", verbose=0) == pytest.approx(expected, abs=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("labels", [[3, 5], [False, True], ["a ñ", "猫"]])
def test_class_names_keep_their_type(make, pictures, tmp_path, labels):
    x, y = pictures
    clf = make(input_size=(24, 40)).fit(x, np.array(labels)[(y == "red").astype(int)], epochs=2, verbose=0)
    clf.save(tmp_path / "typed.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "typed.keras")
    assert loaded.classes_.tolist() == labels
    assert loaded.classes_.dtype.kind == clf.classes_.dtype.kind
    assert loaded.input_size == (24, 40)
    assert loaded.predict_proba(x, verbose=0) == pytest.approx(clf.predict_proba(x, verbose=0), abs=1e-6)


@pytest.mark.thorough
def test_the_file_tells_nothing_of_this_machine(make, photos, tmp_path):
    weights = tmp_path / "secret-folder.weights.h5"
    tk.get_backbone("TinyNet").build((32, 32)).save_weights(weights)
    clf = make(weights=str(weights)).fit(photos / "train", epochs=1, verbose=0)
    clf.save(tmp_path / "pets.keras")
    with zipfile.ZipFile(tmp_path / "pets.keras") as archive:
        text = archive.read("transferkit.json") + archive.read("config.json")
    assert b"secret-folder" not in text
    assert str(photos).encode() not in text


class TestSaving:
    def test_replaces_a_file_as_a_whole_or_not_at_all(self, loaded, saved_file, monkeypatch):
        before = saved_file.read_bytes()

        def fail(*args, **kwargs):
            raise OSError("no space left on device")

        monkeypatch.setattr("json.dumps", fail)
        with pytest.raises(tk.BundleError, match=r"could not be written to .*pets\.keras' \(no space"):
            loaded.save(saved_file)
        assert saved_file.read_bytes() == before
        assert [p.name for p in saved_file.parent.iterdir()] == ["pets.keras"]

    def test_leaves_nothing_but_the_file(self, loaded, saved_file):
        loaded.save(saved_file)
        assert [p.name for p in saved_file.parent.iterdir()] == ["pets.keras"]

    def test_on_a_full_disk_names_the_path(self, loaded, saved_file):
        resource = pytest.importorskip("resource")
        before, limits = saved_file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
        for size in (100, len(before) - 100):
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            try:
                with pytest.raises(tk.BundleError, match=r"could not be written to .*pets\.keras' \(.*room"):
                    loaded.save(saved_file)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert saved_file.read_bytes() == before
        assert [p.name for p in saved_file.parent.iterdir()] == ["pets.keras"]

    def test_follows_a_link_and_keeps_the_mode(self, loaded, tmp_path):
        (tmp_path / "store").mkdir()
        (tmp_path / "pets.keras").symlink_to(tmp_path / "store" / "version 1")
        loaded.save(tmp_path / "pets.keras")
        (tmp_path / "store" / "version 1").chmod(0o600)
        loaded.save(tmp_path / "pets.keras")
        assert (tmp_path / "pets.keras").is_symlink()
        assert (tmp_path / "store" / "version 1").stat().st_mode & 0o777 == 0o600
        tk.TransferClassifier.load(tmp_path / "pets.keras")

    @pytest.mark.parametrize(
        ("path", "message"),
        [("pets.h5", "must end in .keras"), ("no/such/pets.keras", "does not exist"), (3, "must be a path")],
    )
    def test_refuses_bad_targets(self, loaded, path, message):
        with pytest.raises(tk.InvalidInputError, match=message):
            loaded.save(path)


class TestLoading:
    def test_a_missing_file(self, tmp_path):
        with pytest.raises(tk.BundleError, match=r"no file .*none\.keras"):
            tk.TransferClassifier.load(tmp_path / "none.keras")

    def test_a_folder(self, tmp_path):
        with pytest.raises(tk.BundleError, match=r"is a folder: load needs the file"):
            tk.TransferClassifier.load(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 broken"])
    def test_something_else(self, tmp_path, content):
        (tmp_path / "x.keras").write_bytes(content)
        with pytest.raises(tk.BundleError, match="cannot be read"):
            tk.TransferClassifier.load(tmp_path / "x.keras")

    def test_a_model_of_keras_alone(self, tmp_path):
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]).save(tmp_path / "x.keras")
        with pytest.raises(tk.BundleError, match=r"a file that TransferClassifier.save wrote"):
            tk.TransferClassifier.load(tmp_path / "x.keras")

    def test_a_backbone_that_is_not_registered(self, saved_file, monkeypatch):
        from transferkit.backbones import registry as backbones

        monkeypatch.delitem(backbones._registry, "tinynet")
        with pytest.raises(tk.BundleError, match=r"'TinyNet', which is not registered.*register_backbone"):
            tk.TransferClassifier.load(saved_file)

    def test_another_backbone_of_the_same_name(self, saved_file, monkeypatch):
        from dataclasses import replace

        from transferkit.backbones import registry as backbones

        other = replace(tk.get_backbone("TinyNet"), preprocessing="caffe")
        monkeypatch.setitem(backbones._registry, "tinynet", other)
        with pytest.raises(tk.BundleError, match="computes different features than when it was saved"):
            tk.TransferClassifier.load(saved_file)

    def test_another_architecture_of_the_same_name(self, saved_file, monkeypatch):
        from dataclasses import replace

        from transferkit.backbones import registry as backbones

        other = replace(tk.get_backbone("TinyNet"), feature_dim=4)
        monkeypatch.setitem(
            backbones._registry,
            "tinynet",
            replace(
                other,
                builder=lambda input_shape: keras.Sequential([keras.Input(input_shape), keras.layers.Conv2D(4, 3)]),
            ),
        )
        with pytest.raises(tk.BundleError, match="do not fit the backbone 'TinyNet'"):
            tk.TransferClassifier.load(saved_file)

    @pytest.mark.parametrize(
        "change",
        [
            {"format_version": 99},
            {"classes": []},
            {"classes": ["a", 1]},
            {"classes": ["a", "a", "b"]},
            {"input_size": [0, 32]},
            {"input_size": "big"},
            {"feature_scale": float("nan")},
            {"history": [{"name": 3}]},
            {"surprise": 1},
            {"self_test": [0.1]},
        ],
    )
    def test_a_manifest_that_makes_no_sense(self, saved_file, change):
        with_manifest(saved_file, **change)
        with pytest.raises(tk.BundleError):
            tk.TransferClassifier.load(saved_file)

    @pytest.mark.parametrize("text", [b"[]", b"null", b"{", b"\xff\xfe"])
    def test_a_manifest_that_is_none(self, saved_file, text):
        with_member(saved_file, "transferkit.json", text)
        with pytest.raises(tk.BundleError):
            tk.TransferClassifier.load(saved_file)

    def test_missing_weights(self, saved_file):
        with_member(saved_file, "model.weights.h5", None)
        with pytest.raises(tk.BundleError, match="cannot be read"):
            tk.TransferClassifier.load(saved_file)

    def test_what_the_config_says_is_never_run(self, saved_file, fitted_once, photos):
        with_member(saved_file, "config.json", b'{"module": "os", "class_name": "system", "config": "false"}')
        found = tk.TransferClassifier.load(saved_file).predict_proba(photos / "test", verbose=0)
        assert found == pytest.approx(fitted_once[1], abs=1e-6)

    def test_weights_that_declare_more_than_the_network_holds_are_not_read(self, saved_file, tmp_path):
        import h5py

        with h5py.File(tmp_path / "huge.h5", "w") as file:
            file.create_dataset("layers/logits/vars/0", (30_000, 30_000), "f4")  # no byte of it is written
            file.create_dataset("layers/logits/vars/1", data=np.zeros(10_000))
        data = (tmp_path / "huge.h5").read_bytes()
        assert len(data) < 1e6
        with_member(saved_file, "model.weights.h5", data)
        with pytest.raises(tk.BundleError, match="declares 900,010,000 values"):
            tk.TransferClassifier.load(saved_file)


class Undescribed(keras.layers.Layer):
    """As some layers of other libraries are: Keras cannot write down how it was made."""

    def call(self, images):
        return images

    def get_config(self):
        raise AttributeError("no such attribute")


def test_a_layer_that_cannot_be_described_does_not_cost_the_training(photos, tmp_path, monkeypatch, capsys):
    def build(input_shape):
        inputs = keras.Input(input_shape)
        return keras.Model(inputs, Undescribed()(keras.layers.Conv2D(4, 3, name="conv")(inputs)))

    record = tk.Backbone("Odd", build, "tf", default_size=16, min_size=8)
    monkeypatch.setattr("transferkit.backbones.registry._registry", {"odd": record})
    clf = tk.TransferClassifier("Odd", weights=None, seed=0).fit(photos / "train", epochs=1, verbose=0)
    clf.save(tmp_path / "odd.keras")
    assert "so Keras cannot open 'odd.keras'; TransferClassifier.load can." in capsys.readouterr().out
    loaded = tk.TransferClassifier.load(tmp_path / "odd.keras")
    expected = clf.predict_proba(photos / "test", verbose=0)
    assert loaded.predict_proba(photos / "test", verbose=0) == pytest.approx(expected, abs=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["odd.keras"]


PHASE: dict[str, Any] = {
    "name": "fit",
    "first_layer": "logits",
    "metrics": {"loss": [1.0], "accuracy": [0.5]},
    "kept": 1,
}
ODD_PHASES: list[dict[str, Any]] = [
    {"name": "<b>fit</b>"},
    {"kept": 2},
    {"metrics": {}},
    {"metrics": {"loss": "1"}},
    {"metrics": {"loss": [1.0], "accuracy": [0.5, 0.6]}},
    {"metrics": {"loss": ["a"]}},
    {"seconds": "long"},
    {"skipped": {"a": "b"}},
]


@pytest.mark.parametrize(
    "change",
    [
        {"input_size": [float("inf"), 2]},
        {"self_test": ["x"]},
        {"self_test": [[1], [1, 2]]},
        {"dropout": 5},
        {"dropout": "a"},
        {"split_seed": "x"},
        {"split_seed": 2**70},
        {"classes": "abc"},
        {"classes": {"a": 1, "b": 2, "c": 3}},
        {"classes": 3},
        {"weights": "/etc/passwd"},
        {"seed": "x"},
        {"input_size": [32.0, 32]},
        {"input_size": "32"},
        {"dropout": True},
        {"feature_scale": "1"},
        {"feature_scale": float("inf")},
        {"backbone": ["TinyNet"]},
        {"history": []},
        {"history": {}},
        *({"history": [{**PHASE, **phase}]} for phase in ODD_PHASES),
    ],
)
def test_a_doctored_record_is_refused(saved_file, change):
    with_manifest(saved_file, **change)
    with pytest.raises(tk.BundleError, match="cannot be read as a classifier"):
        tk.TransferClassifier.load(saved_file)


def test_deep_nesting_is_refused(saved_file):
    with_member(saved_file, "transferkit.json", b"[" * 100_000)
    with pytest.raises(tk.BundleError, match="cannot be read as a classifier"):
        tk.TransferClassifier.load(saved_file)


def test_class_weights_by_numpy_names_are_saved(make, pictures, tmp_path):
    images, labels = pictures
    _, codes = np.unique(labels, return_inverse=True)
    weights = dict(zip(np.unique(codes), [1.0, 2.0, 3.0], strict=True))
    clf = make().fit(images, codes, class_weight=weights, verbose=0)
    clf.save(tmp_path / "a.keras")
    assert tk.TransferClassifier.load(tmp_path / "a.keras").classes_.tolist() == [0, 1, 2]


def test_weights_that_are_not_finite_do_not_replace_a_good_file(loaded, saved_file):
    before = saved_file.read_bytes()
    kernel = loaded.network_.get_layer("logits").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with refused(tk.BundleError, "was not saved", "logits/kernel", "not finite"):
        loaded.save(saved_file)
    assert saved_file.read_bytes() == before


@pytest.mark.thorough
def test_a_network_that_was_trained_in_keras_is_saved_without_its_optimizer(make, pictures, tmp_path):
    clf = make().fit(*pictures, verbose=0)
    clf.network_.trainable = True
    clf.network_.compile("adam", "categorical_crossentropy")
    x = np.stack([picture.astype(np.float32) for picture in pictures[0][:8]])
    clf.network_.fit(x, np.eye(3)[[0, 1] * 4], verbose=0)
    clf.save(tmp_path / "a.keras")
    expected = clf.predict_proba(x, verbose=0)
    for again in (tk.TransferClassifier.load(tmp_path / "a.keras"), copy.deepcopy(clf)):
        assert np.array_equal(again.predict_proba(x, verbose=0), expected)
    assert np.allclose(keras.saving.load_model(tmp_path / "a.keras")(x), expected, atol=1e-5)
