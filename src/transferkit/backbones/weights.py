"""Resolve a choice of weights to a checked local file.

A file is looked up in the folder that the environment variable TRANSFERKIT_WEIGHTS names, then in the caches (Keras's
own for Keras's files), and otherwise downloaded into one of them. A damaged file in a cache is renamed; one in
TRANSFERKIT_WEIGHTS is refused and left in place.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .._common.arguments import check_size
from .._common.console import Console, Verbose
from .._common.files import VARIABLE, cache_folders, expanded, is_private, local_path, make_private, replacing
from .._common.remote import Remote, located, refuse_url
from .._public import public
from ..errors import InvalidInputError, WeightsError, bad_argument, shown, shown_url, some_of
from .downloads import fault_of, fetch, keep_digest
from .record import Backbone, Loader, WeightsFile
from .registry import get_backbone

RULE = "must be 'pretrained', 'imagenet', the path or the URL of a weights file, or None"
WeightsChoice = str | Path | None
# What a choice means: an existing file, one at a URL, one to be found, a function, or None (random weights).
Source = Path | Remote | WeightsFile | Loader | None


UNKNOWN_FILE = "file"  # `weights` of a loaded classifier, in place of a path


def check_weights(record: Backbone, choice: object, size: tuple[int, int]) -> Source:
    """Resolve a classifier's `weights` argument for this backbone; nothing is downloaded yet.

    Raises:
        InvalidInputError: the choice is not text, a path or None.
        WeightsError: the path is not a file, or the backbone has no such weights.
    """
    if choice is None:
        return None
    if not isinstance(choice, (str, os.PathLike)):
        raise bad_argument("weights", choice, RULE, "Pass one of these")
    if choice == UNKNOWN_FILE:
        raise WeightsError(
            "The weights of the backbone came from a file whose path is not stored in the saved classifier: to train with "
            "them again, the file is needed. Pass its path: clf.set_params(weights='PATH')."
        )
    if choice not in ("pretrained", "imagenet"):
        place = located(choice)
        return place if isinstance(place, Remote) else _existing(place)
    if record.pretrained is None or (choice == "imagenet" and record.trained_on.lower() != "imagenet"):
        lacks, own = ("", "") if record.pretrained is None else (" trained on ImageNet", "weights='pretrained', ")
        raise WeightsError(
            f"`weights={choice!r}` does not fit {record.name!r}: this backbone has no pretrained weights{lacks}. Pass "
            f"{own}the path of a weights file, or weights=None for random weights."
        )
    if callable(record.pretrained):
        return record.pretrained
    return record.weights_file(size) or _existing(Path(str(record.pretrained)))


def find_weights(record: Backbone, source: Source, console: Console) -> Path | Loader | None:
    """The checked local file of a source, downloaded if it is not on this machine.

    Raises:
        WeightsError: it could not be downloaded, or is damaged.
    """
    if isinstance(source, Remote):
        return _from_url(source)
    if not isinstance(source, WeightsFile):
        return source
    found = _in_own_folder(record, source) or _in_caches(record, source, console)
    return found or fetch(record, source, _new_cache(source.url), console)


def size_note(record: Backbone, source: Source, size: tuple[int, int]) -> str:
    """A note for sizes that no weights were trained at; empty for other sizes."""
    if not isinstance(source, WeightsFile) and (not isinstance(source, Path) or source != record.pretrained):
        return ""  # random weights, a file of the user's own, or a function
    trained_at = source.size if isinstance(source, WeightsFile) else record.default_size
    if trained_at is None or size == (trained_at, trained_at):
        return ""
    wanted = f"{size[0]} px" if size[0] == size[1] else f"{size[0]} x {size[1]} px"
    return f"{record.name!r} has no weights for {wanted}, so {source.name!r} for {trained_at} px is used."


@public
def download_weights(
    names: str | Backbone | Iterable[str | Backbone],
    to: str | os.PathLike[str],
    *,
    input_size: int | tuple[int, int] | None = None,
    verbose: Verbose = "auto",
) -> list[Path]:
    """Download the pretrained weights of backbones into a folder, for use offline.

    On the offline machine, set the environment variable ``TRANSFERKIT_WEIGHTS`` to a copy of the folder. A file already
    in a cache, or in the folder that this variable names here, is copied; one already in `to` is kept.

    Args:
        names: one backbone or several, as `list_backbones` gives them, or their records.
        to: the folder; it is created if missing.
        input_size: an int or (height, width) in pixels, for use at a size other than the default: some backbones
            have a file for each of several sizes.
        verbose: 0 = no messages and no progress bars.

    Returns:
        The files, in the order of `names`; none for a backbone with local weights, such as TransferKitTiny.

    Raises:
        UnknownBackboneError: no such backbone.
        InvalidInputError: the size is too small for one of them, or `to` cannot be a folder.
        WeightsError: a backbone whose weights are not a file to download, no connection, or a damaged file in the
            folder. Files downloaded before the error are kept.
    """
    console, wanted = Console(verbose), check_size(input_size)
    listed: Any = [names] if isinstance(names, (str, Backbone)) else names
    if not isinstance(listed, Iterable) or not (listed := list(listed)):
        raise bad_argument("names", names, "must name one backbone or more", "Pass for example names=['MobileNetV2']")
    pairs = []
    for record in map(get_backbone, listed):
        if isinstance(record.pretrained, Path) and record.pretrained.is_file():
            place = str(record.pretrained)
            console.say(f"The weights of {record.name!r} need not be downloaded: they are in {place!r}.")
        elif (file := record.weights_file(record.input_size(wanted))) is None:
            raise WeightsError(
                f"The weights of {record.name!r} cannot be downloaded: its record has no URL. Leave it out."
            )
        else:
            pairs.append((record, file))
    for (_, file), (_, other) in itertools.combinations(pairs, 2):
        if file.name == other.name and file.url != other.url:
            raise InvalidInputError(
                f"The files at {shown_url(file.url)} and {shown_url(other.url)} have the same name, {file.name!r}: a "
                f"folder can hold only one of them. Download them into two folders."
            )
    folder = _made(to)
    return [_put(record, file, folder, console) for record, file in pairs]


def _made(to: object) -> Path:
    refuse_url("to", to)
    if not isinstance(to, (str, os.PathLike)) or not str(to):
        raise bad_argument("to", to, "must be the path of a folder", "Pass for example to='weights'")
    folder = local_path(to)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"`to={shown(str(to))}` cannot be a folder ({getattr(error, 'strerror', None) or error}): weights are put into "
            f"one. Choose another path."
        ) from error
    return folder


def _put(record: Backbone, file: WeightsFile, folder: Path, console: Console) -> Path:
    with contextlib.suppress(OSError):  # `fetch` says why a folder cannot be used
        if (folder / file.name).exists():
            return _refuse_damaged(record, file, folder / file.name)
    cached = _in_own_folder(record, file) or _in_caches(record, file, console)
    return fetch(record, file, folder, console, cached)


# ---- where files are looked up ----


def _existing(path: Path) -> Path:
    if not os.path.isfile(path):  # noqa: PTH113  # Path.is_file raises for a name that is too long
        raise WeightsError(f"There is no weights file {shown(str(path), 300)}: `weights` {RULE}. Check the path.")
    return path


def _in_own_folder(record: Backbone, file: WeightsFile) -> Path | None:
    """The file in the folder that the user named."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    folder = expanded(named) or Path(named)
    try:
        with os.scandir(folder):  # fails unless it is a folder that can be read
            found = (folder / file.name).is_file()
    except OSError as error:
        raise WeightsError(
            f"{VARIABLE}={shown(named, 300)} cannot be used ({error.strerror or error}): it must name a folder of weights "
            f"files that you may read. Make the folder, change its permissions, or unset the variable."
        ) from error
    return _refuse_damaged(record, file, folder / file.name) if found else None


def _refuse_damaged(record: Backbone, file: WeightsFile, path: Path) -> Path:
    """Check a file in the user's own folder, where nothing is changed."""
    try:
        fault = fault_of(path, file.digest, record.parameters)
    except OSError as error:
        fault = f"cannot be read ({error.strerror or error})"
    if fault:
        raise WeightsError(
            f"The file {str(path)!r} {fault}: it must hold the weights of {record.name!r} that are at "
            f"{shown_url(file.url)}. Replace it with an intact copy, or pass weights=PATH for weights of your own."
        )
    return path


def _in_caches(record: Backbone, file: WeightsFile, console: Console) -> Path | None:
    for folder in cache_folders(file.url):
        path = folder / file.name
        with contextlib.suppress(OSError):  # an unreadable folder, or a file just removed
            # Without a known hash, a file is trusted only in a private folder.
            if path.is_file() and (file.digest or is_private(folder)):
                fault = fault_of(path, file.digest, record.parameters)
                if not fault:
                    keep_digest(path, file.digest)
                    return path
                names = (path.with_name(f"{path.name}.damaged-{number}") for number in itertools.count(1))
                aside = path.rename(next(name for name in names if not name.exists()))
                renamed = f"it was renamed to {aside.name!r} and is not used"
                console.say(f"The weights file {str(path)!r} {fault}, so {renamed}.")
    return None


def _from_url(file: Remote) -> Path:
    """A file of the user's own at a URL; each version is downloaded once."""
    try:
        file = file.stat()
        path = _new_cache(f"{file.url} {file.version}") / file.name
        if not file.version or not path.is_file() or fault_of(path, "", 0):
            with replacing(path) as temporary:
                temporary.write_bytes(file.read())
            keep_digest(path, "", again=True)
    except OSError as error:
        raise WeightsError(
            f"The weights file {str(file)!r} could not be downloaded ({error}): `weights` {RULE}. Check the URL."
        ) from error
    return path


def _new_cache(address: str) -> Path:
    """The first cache that this user, and nobody else, can write to; it is created if missing."""
    folders = cache_folders(address)
    for folder in folders:
        with contextlib.suppress(OSError):
            make_private(folder)
            if is_private(folder) and os.access(folder, os.W_OK):
                return folder
    raise WeightsError(
        f"No folder is available for weights: {some_of(map(str, folders))} cannot be written to, or other users could "
        f"change their content. Set KERAS_HOME or XDG_CACHE_HOME to a folder of your own, or {VARIABLE} to one that holds "
        f"the files."
    )
