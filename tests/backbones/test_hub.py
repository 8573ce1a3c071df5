"""Image encoders of KerasHub through the registry, on tiny ones that are built here and saved as presets."""

from __future__ import annotations

import copy
import pickle
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import refused

import transferkit as tk
from transferkit.backbones import registry as backbones
from transferkit.network.network import assemble

keras_hub = pytest.importorskip("keras_hub", reason="KerasHub is not installed (extra hub, Python 3.11+)")

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
LABELS = list("ab" * 6)


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "_registry", dict(backbones._registry))


def vit(**changes: object) -> keras.Model:
    sizes = {"patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    return keras_hub.models.ViTBackbone(image_shape=(32, 32, 3), **{**sizes, **changes})


def resnet() -> keras.Model:
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )


def saved(folder: Path, encoder: keras.Model, converter: type | None, **rule: object) -> str:
    keras.utils.set_random_seed(1)
    encoder.save_to_preset(str(folder))
    if converter:
        converter(image_size=(32, 32), **rule).save_to_preset(str(folder))
    return str(folder)


@pytest.fixture(scope="module")
def vit_preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    converter = keras_hub.layers.ViTImageConverter
    return saved(tmp_path_factory.mktemp("presets") / "tiny_vit", vit(), converter, scale=1 / 127.5, offset=-1.0)


@pytest.fixture(scope="module")
def resnet_preset(tmp_path_factory: pytest.TempPathFactory) -> str:
    rule = {"scale": [0.01, 0.02, 0.03], "offset": [-1.0, 0.0, 1.0]}
    folder = tmp_path_factory.mktemp("presets") / "tiny_resnet"
    return saved(folder, resnet(), keras_hub.layers.ResNetImageConverter, **rule)


def features(record: tk.Backbone, images: np.ndarray) -> np.ndarray:
    size = images.shape[1:3]
    backbone = record.build(size)
    assert callable(record.pretrained)
    record.pretrained(backbone)
    network = assemble(record, backbone, size, 2, 0.0, 0)
    found = network.features_model()(images.astype(np.float32), training=False)
    return np.asarray(found[0] if isinstance(found, list) else found)


@pytest.mark.thorough
def test_a_preset_becomes_a_record(vit_preset: str, resnet_preset: str) -> None:
    record = tk.keras_hub_backbone(vit_preset)
    assert (record.name, record.family, record.default_size, record.min_size) == ("tiny_vit", "KerasHub", 32, 32)
    assert (record.feature_dim, record.fixed_size) == (16, True)
    assert record.stages == ("block_1", "block_2")
    assert record.parameters == vit().count_params()
    record = tk.keras_hub_backbone(Path(resnet_preset), name="Mine")
    assert (record.name, record.default_size, record.min_size, record.fixed_size) == ("Mine", 224, 32, False)
    assert (record.feature_dim, record.stages) == (128, ("stack0", "stack1"))
    for way in (copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))):
        assert way(record).stages == record.stages


@pytest.mark.thorough
def test_features_are_those_that_keras_hub_computes(vit_preset: str, resnet_preset: str) -> None:
    tokens = keras_hub.models.Backbone.from_preset(vit_preset)(IMAGES / np.float32(127.5) - 1, training=False)
    assert features(tk.keras_hub_backbone(vit_preset), IMAGES) == pytest.approx(np.asarray(tokens[:, 0]), abs=1e-5)
    scaled = IMAGES * np.float32([0.01, 0.02, 0.03]) + np.float32([-1, 0, 1])
    maps = np.asarray(keras_hub.models.Backbone.from_preset(resnet_preset)(scaled, training=False))
    assert features(tk.keras_hub_backbone(resnet_preset), IMAGES) == pytest.approx(maps.mean(axis=(1, 2)), abs=1e-4)


@pytest.mark.thorough
def test_without_a_class_token_tokens_are_averaged(tmp_path: Path) -> None:
    preset = saved(tmp_path / "p", vit(use_class_token=False), None)
    record = tk.keras_hub_backbone(preset, preprocessing="tf")
    tokens = keras_hub.models.Backbone.from_preset(preset)(IMAGES / np.float32(127.5) - 1, training=False)
    assert features(record, IMAGES) == pytest.approx(np.asarray(tokens).mean(axis=1), abs=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "at"), [("vit_preset", "block_2"), ("resnet_preset", "stack1")])
def test_fit_fine_tune_save_and_load(kind: str, at: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    record = tk.register_backbone(tk.keras_hub_backbone(request.getfixturevalue(kind)))
    with refused(tk.InvalidInputError, "already holds"):
        tk.register_backbone(record)
    clf = tk.TransferClassifier(record.name, input_size=32, seed=0).fit(IMAGES, LABELS, epochs=2, verbose=0)
    before = {w.path: w.numpy() for w in clf.network_.weights if "moving" in w.path}
    clf.fine_tune(at=at, epochs=2, learning_rate=1e-3, verbose=0)
    for weight in clf.network_.weights:
        if weight.path in before:
            assert np.array_equal(weight.numpy(), before[weight.path]), weight.path
    assert bool(before) is (kind == "resnet_preset")
    clf.save(tmp_path / "own.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "own.keras")
    assert loaded.predict_proba(IMAGES) == pytest.approx(clf.predict_proba(IMAGES), abs=1e-6)
    if kind == "resnet_preset":  # KerasHub 0.32 cannot read back its own layer of patches
        again = keras.saving.load_model(tmp_path / "own.keras")
        assert again.predict(IMAGES.astype(np.float32), verbose=0) == pytest.approx(clf.predict_proba(IMAGES), abs=1e-5)
    del backbones._registry[record.name.lower()]  # as in a process that did not register it
    with refused(tk.BundleError, repr(record.name), "register_backbone"):
        tk.TransferClassifier.load(tmp_path / "own.keras")


@pytest.mark.thorough
def test_an_encoder_with_an_embedding_for_each_position_takes_one_size(vit_preset: str) -> None:
    record = tk.keras_hub_backbone(vit_preset)
    with refused(tk.InvalidInputError, "32 px only"):
        tk.TransferClassifier(record, input_size=48).fit(IMAGES, LABELS)
    larger = tk.keras_hub_backbone(vit_preset, image_size=48)
    assert larger.default_size == 48
    clf = tk.TransferClassifier(larger, weights=None).fit(IMAGES, LABELS, epochs=1, verbose=0)
    assert clf.network_.input_shape == (None, 48, 48, 3)
    with pytest.raises(tk.WeightsError, match="'tiny_vit' could not be loaded"):
        tk.TransferClassifier(larger).fit(IMAGES, LABELS, epochs=1, verbose=0)


@pytest.mark.thorough
def test_dinov2_is_cut_between_its_blocks(tmp_path: Path) -> None:
    sizes = {"patch_size": 8, "num_layers": 3, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}
    encoder = keras_hub.models.DINOV2Backbone(image_shape=(32, 32, 3), **sizes)
    record = tk.register_backbone(tk.keras_hub_backbone(saved(tmp_path / "p", encoder, None), preprocessing="tf"))
    tokens = keras.Model(encoder.inputs[0], encoder.outputs[0]).predict(IMAGES / np.float32(127.5) - 1, verbose=0)
    assert features(record, IMAGES) == pytest.approx(tokens[:, 0], abs=1e-5)
    assert record.stages == ("layers_0", "layers_1", "layers_2")
    clf = tk.TransferClassifier(record.name, seed=0).fit(IMAGES, LABELS, epochs=1, verbose=0)
    clf.fine_tune(at="layers_2", epochs=1, validation=0, verbose=0)
    clf.save(tmp_path / "own.keras")
    loaded = tk.TransferClassifier.load(tmp_path / "own.keras")
    assert loaded.predict_proba(IMAGES) == pytest.approx(clf.predict_proba(IMAGES), abs=1e-6)
    again = keras.saving.load_model(tmp_path / "own.keras")
    assert again.predict(IMAGES.astype(np.float32), verbose=0) == pytest.approx(clf.predict_proba(IMAGES), abs=1e-5)


@pytest.mark.thorough
def test_a_transformer_is_explained_by_gradients(vit_preset: str) -> None:
    clf = tk.TransferClassifier(tk.keras_hub_backbone(vit_preset), seed=0, cache=False).fit(IMAGES, LABELS, verbose=0)
    heatmaps = clf.explain(IMAGES[:2], ["a", "b"], verbose=0).heatmaps
    assert heatmaps.shape == (2, 32, 32)
    assert heatmaps.min() >= 0
    assert heatmaps.std(axis=(1, 2)).min() > 0.01


@pytest.mark.thorough
def test_of_an_encoder_of_images_and_texts_the_images_part_is_taken(tmp_path: Path) -> None:
    models = keras_hub.models
    sizes = {"hidden_dim": 16, "num_layers": 1, "num_heads": 2, "intermediate_dim": 32}
    encoder = models.SigLIPBackbone(
        models.SigLIPVisionEncoder(patch_size=8, image_shape=(32, 32, 3), **sizes),
        models.SigLIPTextEncoder(vocabulary_size=8, embedding_dim=16, max_sequence_length=4, **sizes),
    )
    preset = saved(tmp_path / "siglip", encoder, None)
    record = tk.keras_hub_backbone(preset, preprocessing="tf")
    assert (record.default_size, record.fixed_size) == (32, True)
    with refused(tk.InvalidInputError, "`image_size=48` cannot be chosen", "Leave it out"):
        tk.keras_hub_backbone(preset, preprocessing="tf", image_size=48)
    clf = tk.TransferClassifier(record).fit(IMAGES, LABELS, epochs=1, verbose=0)
    assert clf.predict_proba(IMAGES).shape == (12, 2)


# ---- what could not be loaded ----


@pytest.mark.thorough
def test_a_preset_without_a_converter_needs_a_rule(tmp_path: Path) -> None:
    preset = saved(tmp_path / "bare", vit(), None)
    with refused(tk.InvalidInputError, repr(preset), "no image converter", "preprocessing='tf'"):
        tk.keras_hub_backbone(preset)


def test_an_unknown_preset_is_a_weights_error() -> None:
    with pytest.raises(tk.WeightsError, match="'no_such_preset' could not be loaded"):
        tk.keras_hub_backbone("no_such_preset")


@pytest.mark.parametrize("preset", [None, 3])
def test_a_preset_is_a_name_or_a_folder(preset: object) -> None:
    with refused(tk.InvalidInputError, f"`preset={preset}`"):
        tk.keras_hub_backbone(preset)


def test_a_preset_of_texts_is_refused(tmp_path: Path) -> None:
    text = keras_hub.models.BertBackbone(
        vocabulary_size=8, num_layers=1, num_heads=1, hidden_dim=4, intermediate_dim=4, max_sequence_length=4
    )
    preset = saved(tmp_path / "bert", text, None)
    with refused(tk.InvalidInputError, "'BertBackbone'", "takes one RGB image", "preset of an image encoder"):
        tk.keras_hub_backbone(preset, preprocessing="none")


def test_without_keras_hub_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(tk.MissingExtraError, match=r"pip install 'transferkit\[hub\]'"):
        tk.keras_hub_backbone("vit_base_patch16_224_imagenet")
