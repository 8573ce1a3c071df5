"""A classifier <-> one ``.keras`` file, written atomically, read as data only.

`load` reads the member ``transferkit.json`` and the weights alone, rebuilds the network from the registry, and runs
nothing that the file describes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import numpy.typing as npt

from ._arguments import is_whole
from ._console import Console
from ._files import replacing
from ._version import __version__
from .backbones import Backbone, refuse_oversized
from .errors import BundleError, bad_argument, first_line, some_of
from .images import ClassWeight, Known, check_class_weight
from .network import Network, assemble
from .results import History, Label, Phase, Selection

__all__ = ["Manifest", "check_target", "read_manifest", "rebuild", "save"]

FORMAT_VERSION = 1
MEMBER = "transferkit.json"
WEIGHTS = "model.weights.h5"
# The self-test: so many features of a test picture, which may differ by this share of the largest. Other
# processors and precisions round differently; other preprocessing or layers differ by far more. Probabilities
# would not do: a sure classifier is often just as sure of the wrong pixels.
FEATURES = 64
TOLERANCE = 0.02
MARGIN = 64 * 2**20  # bytes that a file of weights may take besides the weights
MAX_MANIFEST = 64 * 2**20  # bytes


@dataclass(frozen=True)
class Manifest:
    """The content of ``transferkit.json``."""

    backbone: str
    input_size: tuple[int, int]
    classes: list[Label]  # all of one type
    dropout: float
    precision: Literal["float32", "bfloat16"]  # of the frozen part
    feature_scale: float  # what the head multiplies features by
    weights: str | None  # the constructor's argument; never the path of a weights file
    seed: int | None  # the constructor's argument
    split_seed: int  # divided the images of `fit`: the same folder is divided alike later
    self_test: list[float]  # what `self_test` gave when the classifier was saved
    history: list[dict[str, Any]]
    class_weight: Any = None  # of `fit`: None, "balanced" or (class name, weight) pairs
    trained_on: str = ""  # stands for the contents of the training images, in base64
    weights_sha256: str = ""  # of the member ``model.weights.h5``
    transferkit_version: str = __version__
    keras_version: str = keras.__version__
    format_version: int = FORMAT_VERSION

    def class_weight_choice(self) -> ClassWeight:
        """`class_weight` as `fit` takes it: JSON has no dict with numbers for keys."""
        pairs = self.class_weight
        return check_class_weight(dict(pairs) if isinstance(pairs, list) else pairs, np.array(self.classes))

    def known(self) -> Known:
        """Stands for the contents of the images that the classifier was trained on."""
        return np.frombuffer(base64.b64decode(self.trained_on, validate=True), "<u8").astype(np.uint64)

    def history_record(self) -> History:
        return History(tuple(map(_phase, self.history)))


def self_test(network: Network) -> npt.NDArray[np.float64]:
    """Up to 64 features, float64 `(n,)`, of a test image that is the same in every version: waves in each channel."""
    y, x = np.mgrid[: network.size[0], : network.size[1]].astype(np.float32)
    waves = [np.sin(x / 7 + k) + np.cos(y / 5 - k) for k in range(3)]
    picture = (127.5 + 63.75 * np.stack(waves, axis=-1))[np.newaxis].astype(np.float32)
    (features,) = keras.tree.flatten(network.features_model()(picture, training=False))
    values: npt.NDArray[np.float64] = np.asarray(features, np.float64).ravel()
    return values[np.linspace(0, len(values) - 1, min(FEATURES, len(values))).astype(np.int64)]


def check_target(path: object) -> Path:
    """A path that ends in ``.keras``, in a folder that exists."""
    target = _as_path(path)
    if target.suffix != ".keras":
        raise bad_argument("path", str(target), "must end in .keras", f"Pass {str(target.with_suffix('.keras'))!r}")
    if not target.parent.is_dir():
        raise bad_argument("path", str(target), "is in a folder that does not exist", "Make the folder first")
    if target.is_dir():
        raise bad_argument("path", str(target), "is a folder: save writes a file", "Choose another name")
    return target


def _as_path(path: object) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise bad_argument("path", path, "must be a path", "Pass for example 'pets.keras'")
    return Path(path)


def save(
    path: Path,
    network: Network,
    classes: npt.NDArray[np.generic],
    class_weight: ClassWeight,
    known: Known,
    history: History,
    **options: Any,
) -> None:
    """Write a new file, or replace the one that is there; `options` are the other fields of `Manifest`.

    Raises:
        BundleError: the disk is full, or the folder cannot be written to.
    """
    manifest = Manifest(
        backbone=network.record.name,
        input_size=network.size,
        classes=classes.tolist(),
        precision=network.precision,
        class_weight=list(class_weight.items()) if isinstance(class_weight, Mapping) else class_weight,
        trained_on=base64.b64encode(known.astype("<u8").tobytes()).decode(),
        feature_scale=network.feature_scale,
        self_test=self_test(network).tolist(),
        history=[asdict(replace(phase, skipped={})) for phase in history.phases],  # names no files of this machine
        **options,
    )
    try:
        with replacing(path) as temporary:
            _save_model(network, temporary)
            with zipfile.ZipFile(temporary, "a") as archive:
                manifest = replace(manifest, weights_sha256=hashlib.sha256(archive.read(WEIGHTS)).hexdigest())
                archive.writestr(MEMBER, json.dumps(asdict(manifest), ensure_ascii=False, indent=1))
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
    except OSError as error:
        raise BundleError(
            f"The classifier could not be written to {str(path)!r} ({error.strerror or error}): save needs a folder that "
            f"you can write to, on a disk with room for the file. Make room, or pass another path."
        ) from error


def _save_model(network: Network, path: Path) -> None:
    """What `keras.Model.save` writes; or, if a layer cannot be serialized, the weights, all that `rebuild` reads.

    Some layers of other libraries fail in `get_config`: the training must not be lost for that.
    """
    try:
        network.model.save(path)
    except OSError:  # of the disk
        raise
    except Exception as error:  # such a layer may raise anything
        weights = path.with_name(WEIGHTS)
        network.model.save_weights(weights)
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(weights, WEIGHTS)
        Console(1).say(
            f"A layer of {network.record.name!r} cannot be serialized ({type(error).__name__}: {error}), so Keras cannot "
            f"open {path.name!r}; TransferClassifier.load can."
        )


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """The member ``transferkit.json``, checked."""
    path = _as_path(path)
    if not path.is_file():
        fault = f"{str(path)!r} is a folder" if path.is_dir() else f"There is no file {str(path)!r}"
        raise BundleError(f"{fault}: load needs the file of a classifier, as save writes it. Check the path.")
    with _opened(path) as archive:
        if MEMBER not in archive.namelist():
            raise BundleError(
                f"{str(path)!r} does not contain {MEMBER}: load needs a file that TransferClassifier.save wrote. If it is "
                f"another Keras model, and you trust it, open it with keras.saving.load_model."
            )
        content = json.loads(_member(archive, MEMBER, MAX_MANIFEST))
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise BundleError(
                f"{str(path)!r} has the format version {version!r}, and this transferkit reads version "
                f"{FORMAT_VERSION}. Install the transferkit that wrote it ({content.get('transferkit_version', 'unknown')})."
            )
        return _checked(Manifest(**content))


def _checked(manifest: Manifest) -> Manifest:
    """The types and ranges that the rest relies on."""
    height, width = manifest.input_size
    names, seeds = manifest.classes, (manifest.split_seed, 0 if manifest.seed is None else manifest.seed)
    kinds = {type(name) for name in names}
    rules = {
        "backbone": isinstance(manifest.backbone, str),
        "classes": isinstance(names, list) and len(set(names)) == len(names) >= 2 and kinds in ({str}, {int}, {bool}),
        "input_size": all(is_whole(side) and 0 < side <= 10_000 for side in (height, width)),
        "weights": manifest.weights in ("pretrained", "imagenet", None),
        "feature_scale": _are_numbers([manifest.feature_scale]) and np.isfinite(manifest.feature_scale),
        "dropout": _are_numbers([manifest.dropout]) and 0 <= manifest.dropout < 1,
        "seed or split_seed": all(is_whole(seed) and 0 <= seed < 2**32 for seed in seeds),
        "precision": manifest.precision in ("float32", "bfloat16"),
        "self_test": _are_numbers(manifest.self_test) and np.isfinite(manifest.self_test).all(),
        "history": manifest.history and all(_is_phase(phase) for phase in manifest.history_record().phases),
    }
    if wrong := [name for name, holds in rules.items() if not holds]:
        raise ValueError(f"{MEMBER} holds invalid values of {some_of(wrong)}")
    manifest.class_weight_choice()
    manifest.known()
    return replace(manifest, input_size=(height, width))


def _phase(fields: dict[str, Any]) -> Phase:
    selection = fields.get("selection")
    return Phase(**{**fields, "selection": Selection(**selection) if selection else None})


def _is_selection(selection: Selection) -> bool:
    kept, *figures = astuple(selection)
    return kept in ("before", "half-way", "tuned") and _are_numbers(figures)


def _is_phase(phase: Phase) -> bool:
    columns = list(phase.metrics.values())
    return (
        phase.name in ("fit", "fine_tune")
        and isinstance(phase.first_layer, str)
        and all(_are_numbers(column) and len(column) == phase.epochs > 0 for column in columns)
        and is_whole(phase.kept)
        and 0 <= phase.kept <= phase.epochs
        and _are_numbers([phase.seconds, phase.pass_seconds])
        and _are_numbers(list(phase.errors.values()))
        and (phase.selection is None or _is_selection(phase.selection))
        and not phase.skipped
    )


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(type(value) in (int, float) for value in values)


def rebuild(path: str | os.PathLike[str], record: Backbone, manifest: Manifest) -> Network:
    """The network from the registry, filled with the file's weights; it must compute what the saved one did."""
    path, size = Path(path), manifest.input_size
    count, seed = len(manifest.classes), manifest.split_seed
    network = assemble(record, record.build(size), size, count, manifest.dropout, seed, manifest.precision)
    network.set_feature_scale(manifest.feature_scale)
    _load_weights(network.model, path, manifest)
    features, expected = self_test(network), np.array(manifest.self_test, np.float64)
    tolerance = TOLERANCE * float(np.abs(expected).max(initial=0))
    if features.shape != expected.shape or not np.allclose(features, expected, rtol=0, atol=tolerance):
        raise BundleError(
            f"The classifier in {str(path)!r} computes different features than when it was saved: the backbone "
            f"{manifest.backbone!r} as registered here is not the one that it was trained with. Register the same one."
        )
    return network


def _load_weights(model: keras.Model, path: Path, manifest: Manifest) -> None:
    with _opened(path) as archive:
        content = _member(archive, WEIGHTS, MARGIN + 16 * model.count_params())
        if hashlib.sha256(content).hexdigest() != manifest.weights_sha256:
            raise ValueError("its weights do not have the hash that was saved with them")
    with tempfile.TemporaryDirectory(prefix="transferkit-") as folder:
        weights = Path(folder, WEIGHTS)
        weights.write_bytes(content)
        try:
            refuse_oversized(weights, model)
            model.load_weights(weights)
        except Exception as error:  # h5py and Keras raise many kinds for a file that does not fit
            raise BundleError(
                f"The weights in {str(path)!r} do not fit the backbone {manifest.backbone!r} as registered here "
                f"({first_line(error)}): it must be the backbone that the classifier was trained with. Register "
                f"the same one."
            ) from error


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, for reading; errors inside the block say that it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except BundleError:
        raise
    except Exception as error:  # zipfile, zlib, json and a foreign record raise many kinds
        raise BundleError(
            f"{str(path)!r} cannot be read as a classifier ({error}): the file is damaged or was not written by "
            f"transferkit. Use an intact copy, or save the classifier again."
        ) from error


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A member of at most so many bytes: a small archive can hold gigabytes, and state another size."""
    with archive.open(name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"the contents of {name} take more than {most:,} bytes")
    return content
