"""One ``.keras`` file -> a classifier's parts, read as data only.

`transferkit.json` and the weights are read, the network is built from the registry, and nothing that the file describes
is run. The cheap checks come first: no network is built before the file proves large enough for its weights.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..backbones import Backbone
from ..errors import BundleError, first_line
from ..features import Typicality
from ..images import Known
from ..network import Network, assemble
from . import files
from .archive import MANIFEST, TRAINED_ON, TYPICALITY, check_members, is_sealed, open_archive, read_member
from .manifest import FORMAT_VERSION, LARGEST_MANIFEST, Manifest, manifest_from, parsed
from .weights import computes_as_saved, load_weights, refuse_small


@dataclass(frozen=True)
class SavedClassifier:
    """An open file, and what it contains.

    Attributes:
        place: the file, as messages name it.
        known: digests of the contents of the images that the classifier was trained on.
    """

    place: str
    archive: zipfile.ZipFile
    manifest: Manifest
    known: Known


@contextmanager
def open_saved(place: object) -> Iterator[SavedClassifier]:
    """A saved classifier whose file is intact and whose manifest is valid; its weights have not been read.

    Raises:
        BundleError: there is no such file, or it is damaged, of another version, or not a classifier.
        InvalidInputError: `place` is neither a path nor a binary file.
    """
    shown = files.shown_place(place)
    with files.opened(place) as file:
        with _named(shown):
            sealed = is_sealed(file)
            archive = open_archive(file)
            content = _content(archive, shown)
            _refuse_other_version(content, shown)
            if not sealed:
                raise ValueError("its end is missing, where the hash of the rest is")
            check_members(archive)
            known = np.frombuffer(read_member(archive, TRAINED_ON, archive.getinfo(TRAINED_ON).file_size), "<u8")
            saved = SavedClassifier(shown, archive, manifest_from(content), known.astype(np.uint64))
        yield saved


def _content(archive: zipfile.ZipFile, shown: str) -> dict[str, Any]:
    """The member ``transferkit.json``, parsed."""
    if MANIFEST not in archive.namelist():
        raise BundleError(
            f"{shown} does not contain {MANIFEST}: load needs a file that TransferClassifier.save wrote. If it is another "
            f"Keras model, and you trust it, open it with keras.saving.load_model."
        )
    return parsed(read_member(archive, MANIFEST, LARGEST_MANIFEST))


def _refuse_other_version(content: dict[str, Any], shown: str) -> None:
    version, writer = content.get("format_version"), content.get("transferkit_version")
    if type(version) is not int or not isinstance(writer, str):
        raise ValueError(f"{MANIFEST} does not give its version")
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{shown} has the format version {version}, which is {'newer' if version > FORMAT_VERSION else 'older'} than "
            f"version {FORMAT_VERSION}, the one that this transferkit reads. Install the transferkit that wrote it "
            f"({writer[:40]})."
        )


def read_typicality(saved: SavedClassifier, width: int) -> Typicality | None:
    """What the file says about typical features, of this width; None if it says nothing.

    Raises:
        BundleError: it is invalid.
    """
    with _named(saved.place):
        if TYPICALITY not in saved.archive.namelist():
            return None
        content = read_member(saved.archive, TYPICALITY, Typicality.most_bytes(width))
        return Typicality.from_bytes(content, width)


def rebuild(saved: SavedClassifier, record: Backbone, precision: Literal["float32", "bfloat16"]) -> Network:
    """The network from the registry, filled with the file's weights; it must compute what the saved one did.

    Raises:
        BundleError: the weights do not fit, or the features differ.
    """
    manifest, size, count = saved.manifest, saved.manifest.input_size, len(saved.manifest.classes)
    with _named(saved.place):
        if not record.takes(size):
            raise ValueError(f"{record.name!r} cannot be built for {size[0]} x {size[1]} px")
        refuse_small(saved.archive, record, count)
    thresholds = None if manifest.thresholds is None else np.array(manifest.thresholds)
    options = manifest.dropout, manifest.split_seed, precision, manifest.resize, thresholds
    network = assemble(record, record.build(size), size, count, *options)
    network.set_feature_scale(manifest.feature_scale)
    try:
        load_weights(network.model, saved.archive)
    except Exception as error:  # h5py and Keras raise many kinds of errors for a file that does not fit
        raise BundleError(
            f"The weights in {saved.place} do not fit the backbone {manifest.backbone!r} as registered here "
            f"({first_line(error)}): it must be the backbone that the classifier was trained with. Register the same one."
        ) from error
    if not computes_as_saved(network, manifest.self_test):
        raise BundleError(
            f"The classifier in {saved.place} computes different features than when it was saved: the backbone "
            f"{manifest.backbone!r} as registered here is not the one that it was trained with. Register the same one."
        )
    return network


@contextmanager
def _named(shown: str) -> Iterator[None]:
    """Make errors inside the block say that the file is damaged."""
    try:
        yield
    except BundleError:
        raise
    except Exception as error:  # zipfile and json raise many kinds
        raise BundleError(
            f"{shown} cannot be read as a classifier ({first_line(error)}): the file is damaged or was not written by "
            f"transferkit. Use an intact copy, or save the classifier again."
        ) from error
