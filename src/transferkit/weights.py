"""A choice of weights -> a verified local file, or an error that says what to do.

A file is looked for in the folder that the environment variable TRANSFERKIT_WEIGHTS names, then in
the caches (Keras's own for the files of Keras), then it is downloaded into one of them. A damaged file
in a cache is set aside under another name; one in TRANSFERKIT_WEIGHTS is refused and stays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ._public import public
from .arguments import check_size, check_verbose
from .backbones import get_backbone
from .downloads import digest_file, fault_of, fetch, record_digest, recorded_digest
from .errors import InvalidInputError, WeightsError, bad_argument, shown
from .places import cache_folders, expanded, is_private, writable_cache
from .progress import say
from .records import Backbone
from .sources import WeightsFile, shown_url
from .transfers import DownloadError

__all__ = ["Source", "WeightsChoice", "check_weights", "download_weights", "find_weights", "size_note"]

WeightsChoice = str | Path | None
# What a choice comes to: nothing (random weights), a file that is there, one to be found, a function.
Source = Path | WeightsFile | Callable[[Any], object] | None

VARIABLE = "TRANSFERKIT_WEIGHTS"


def check_weights(record: Backbone, choice: object, size: tuple[int, int]) -> Source:
    """What a classifier's argument `weights` means for this backbone; nothing is fetched yet.

    Raises:
        InvalidInputError: neither text, nor a path, nor None.
        WeightsError: a path that is no file, or the backbone has no such weights.
    """
    if choice is None:
        return None
    if not isinstance(choice, (str, os.PathLike)):
        raise bad_argument(
            "weights",
            choice,
            "must be 'pretrained', 'imagenet', the path of a weights file, or None",
            "Pass one of these",
        )
    if choice == "imagenet" and record.trained_on.lower() != "imagenet":
        raise WeightsError(
            f"`weights='imagenet'` cannot be had for {record.name!r}: its record names no weights trained on ImageNet. "
            f"Pass weights='pretrained' for its own, the path of a file, or None for random weights."
        )
    if choice in ("pretrained", "imagenet"):
        if record.pretrained is None:
            raise WeightsError(
                f"`weights={choice!r}` cannot be had for {record.name!r}: its record names no weights. Pass the path "
                f"of a weights file, or weights=None for random ones."
            )
        if callable(record.pretrained):
            return record.pretrained
        return record.weights_file(size) or _existing(Path(str(record.pretrained)))
    return _existing(Path(choice))


def find_weights(record: Backbone, source: Source, verbose: str | int) -> Path | Callable[[Any], object] | None:
    """The verified local file of a source, downloaded if need be.

    Raises:
        WeightsError: it could not be had, or is not what it should be.
    """
    if not isinstance(source, WeightsFile):
        return source
    return _in_own_folder(record, source) or _in_caches(record, source, verbose) or _download(record, source, verbose)


def size_note(record: Backbone, source: Source, size: tuple[int, int]) -> str:
    """A sentence for sizes that no weights were trained at; empty for the others."""
    if isinstance(source, WeightsFile):
        trained_at = source.size
    elif isinstance(source, Path) and source == record.pretrained:
        trained_at = record.default_size
    else:
        return ""
    if trained_at is None or size == (trained_at, trained_at):
        return ""
    wanted = f"{size[0]} px" if size[0] == size[1] else f"{size[0]} x {size[1]} px"
    return f"No weights of {record.name!r} were trained at {wanted}: those of {trained_at} px are used ({source.name})."


@public
def download_weights(
    names: str | Iterable[str],
    to: str | os.PathLike[str],
    *,
    input_size: int | tuple[int, int] | None = None,
    verbose: str | int = "auto",
) -> list[Path]:
    """Put the pretrained weights of backbones into a folder, for a machine without a connection.

    Copy the folder there and name it in the environment variable ``TRANSFERKIT_WEIGHTS``. A file that
    Keras's cache holds already is copied; one that the folder holds already is kept.

    Args:
        names: one backbone or several, as `list_backbones` gives them.
        to: the folder; it is made if it is missing.
        input_size: an int or (height, width) in pixels, where they will be used at another size than the
            default: some backbones have a file for each of several sizes.
        verbose: 0 = no messages and no progress bars.

    Returns:
        The files, in the order of `names`; none for a backbone whose weights are a file of this machine, as
        those of TransferKitTiny are.

    Raises:
        UnknownBackboneError: no such backbone.
        InvalidInputError: the size is too small for one of them, or `to` cannot be a folder.
        WeightsError: a backbone whose weights are no file to download, no connection, or a file in the
            folder that is damaged. What was downloaded before stays.
    """
    verbose = check_verbose(verbose)
    wanted = check_size(input_size)
    records = [get_backbone(name) for name in _listed(names)]
    for record in filter(_is_at_hand, records):
        say(f"The weights of {record.name!r} need no download: they are {str(record.pretrained)!r}.", verbose)
    files = [_downloadable(record, wanted) for record in records if not _is_at_hand(record)]
    _refuse_one_name_twice([file for _, file in files])
    folder = _made(to)
    return [_put(record, file, folder, verbose) for record, file in files]


def _is_at_hand(record: Backbone) -> bool:
    """Whether its own weights are a file of this machine, as those that are part of the package."""
    return isinstance(record.pretrained, Path) and record.pretrained.is_file()


def _downloadable(record: Backbone, wanted: tuple[int, int] | None) -> tuple[Backbone, WeightsFile]:
    file = record.weights_file(record.input_size(wanted))
    if file is None:
        raise WeightsError(
            f"The weights of {record.name!r} cannot be downloaded: its record names no address of a file. Leave it out."
        )
    return record, file


def _listed(names: object) -> list[Any]:
    if isinstance(names, (str, Backbone)):
        return [names]
    found = list(names) if isinstance(names, Iterable) else []
    if not found:
        raise bad_argument("names", names, "must name a backbone or several", "Pass for example names=['MobileNetV2']")
    return found


def _refuse_one_name_twice(files: Sequence[WeightsFile]) -> None:
    by_name: dict[str, WeightsFile] = {}
    for file in files:
        other = by_name.setdefault(file.name, file)
        if other.url != file.url:
            raise InvalidInputError(
                f"The files at {shown_url(other.url)} and {shown_url(file.url)} have one name, {file.name!r}: a folder holds "
                f"one of them. Download them into two folders."
            )


def _made(to: object) -> Path:
    if not isinstance(to, (str, os.PathLike)) or not str(to):
        raise bad_argument("to", to, "must be the path of a folder", "Pass for example to='weights'")
    folder = Path(to)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"`to={shown(str(to))}` cannot be a folder ({getattr(error, 'strerror', None) or error}): weights are put into "
            f"one. Choose another place."
        ) from error
    return folder


def _put(record: Backbone, file: WeightsFile, folder: Path, verbose: str | int) -> Path:
    target = folder / file.name
    try:
        if target.exists():
            fault = fault_of(target, file, record.parameters)
            if fault:
                raise _wrong_file(record, file, target, fault)
            return target
        cached = _in_caches(record, file, verbose)
        if cached is None:
            return _fetch(record, file, folder, verbose)
        say(f"Copying the weights of {record.name!r} from {cached}", verbose)
        _copy([cached, digest_file(cached)], folder)
    except OSError as error:
        raise WeightsError(
            f"The weights of {record.name!r} could not be put into {str(folder)!r} ({error.strerror or error}): the folder "
            f"must take the file {file.name!r}. Choose another place, or make room."
        ) from error
    return target


def _copy(sources: Sequence[Path], folder: Path) -> None:
    """Copy the files that exist; they appear only when all of them are whole."""
    with tempfile.TemporaryDirectory(prefix=".transferkit-", dir=folder) as temporary:
        copies = [Path(shutil.copyfile(path, Path(temporary, path.name))) for path in sources if path.is_file()]
        for copied in copies:
            copied.replace(folder / copied.name)


# ---- where files lie ----


def _existing(path: Path) -> Path:
    try:
        found = path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        found = False
    if not found:
        raise WeightsError(
            f"There is no weights file {shown(str(path), 300)}: `weights` must be 'pretrained', 'imagenet', the path of a "
            f"file, or None. Check the path."
        )
    return path


def _in_own_folder(record: Backbone, file: WeightsFile) -> Path | None:
    """The file in the folder that the user named."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    folder = expanded(named)
    try:
        if folder is None or not folder.is_dir():
            raise WeightsError(
                f"{VARIABLE}={shown(named, 300)} is no folder: the variable names one that holds weights files. Make the "
                f"folder, or unset the variable."
            )
        path = folder / file.name
        if not path.is_file():
            return None
        fault = fault_of(path, file, record.parameters)
    except OSError as error:
        raise WeightsError(
            f"{VARIABLE}={shown(named, 300)} cannot be read ({error.strerror or error}): the variable names a folder that "
            f"holds weights files. Give yourself the right to read it, or unset the variable."
        ) from error
    if fault:
        raise _wrong_file(record, file, path, fault)
    return path


def _in_caches(record: Backbone, file: WeightsFile, verbose: str | int) -> Path | None:
    for folder in cache_folders(file):
        path = folder / file.name
        with contextlib.suppress(OSError):  # a folder that cannot be read, a file that has just gone
            # A file without a known hash is only as good as the folder it lies in.
            if path.is_file() and (file.digest or is_private(folder)):
                fault = fault_of(path, file, record.parameters)
                if not fault:
                    _remember_digest(path, file)
                    return path
                _set_aside(path, file, record.parameters, fault, verbose)
    return None


def _remember_digest(path: Path, file: WeightsFile) -> None:
    if not file.digest and not recorded_digest(path):
        with contextlib.suppress(OSError):  # a cache that cannot be written to can still be read
            record_digest(path, path)


def _set_aside(path: Path, file: WeightsFile, values: int, fault: str, verbose: str | int) -> None:
    """Rename a damaged file; a good one that another process has put there meanwhile goes back."""
    number = next(n for n in range(1, 10**6) if not path.with_name(f"{path.name}.damaged-{n}").exists())
    aside = path.rename(path.with_name(f"{path.name}.damaged-{number}"))
    if file.digest and not fault_of(aside, file, values):
        aside.replace(path)
        return
    with contextlib.suppress(OSError):
        digest_file(path).rename(digest_file(aside))
    say(f"The weights file {str(path)!r} {fault}: it is not used, and was set aside as {aside.name!r}.", verbose)


# ---- fetching ----


def _download(record: Backbone, file: WeightsFile, verbose: str | int) -> Path:
    folder = writable_cache(file)
    if folder is None:
        places = ", ".join(repr(str(folder)) for folder in cache_folders(file))
        raise WeightsError(
            f"There is no folder to keep weights in: {places} cannot be written to, or other users could change what is in "
            f"them. Set KERAS_HOME or XDG_CACHE_HOME to a folder of your own, or {VARIABLE} to one that holds the files."
        )
    return _fetch(record, file, folder, verbose)


def _fetch(record: Backbone, file: WeightsFile, folder: Path, verbose: str | int) -> Path:
    try:
        return fetch(file, folder, record.parameters, f"the weights of {record.name!r}", verbose)
    except DownloadError as error:
        raise WeightsError(
            f"The weights of {record.name!r} could not be downloaded from {shown_url(file.url)} ({error}): they are fetched "
            f"once and then kept. Connect to the internet, or put the file {file.name!r} into {str(folder)!r} or into a "
            f"folder that the environment variable {VARIABLE} names, or pass weights=PATH."
        ) from error


def _wrong_file(record: Backbone, file: WeightsFile, path: Path, fault: str) -> WeightsError:
    return WeightsError(
        f"The file {str(path)!r} {fault}: it must be the weights of {record.name!r} as they are at "
        f"{shown_url(file.url)}. Replace it by a good copy, or pass weights=PATH for weights of your own."
    )
