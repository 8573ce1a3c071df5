"""A choice of weights -> a verified local file, or an error that says what to do.

A file is looked for in the folder that the environment variable TRANSFERKIT_WEIGHTS names, then in
Keras's own cache, then it is downloaded into the cache. Files of others are never changed: a damaged
one in a cache is set aside under another name, one in TRANSFERKIT_WEIGHTS is refused.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ._public import public
from .arguments import check_size, check_verbose
from .backbones import get_backbone
from .downloads import DownloadError, digest_file, fault_of, fetch, record_digest, recorded_digest
from .errors import InvalidInputError, WeightsError, bad_argument
from .progress import say
from .records import Backbone
from .sources import WeightsFile

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
    if not isinstance(choice, (str, os.PathLike)):
        raise bad_argument(
            "weights",
            choice,
            "must be 'pretrained', 'imagenet', the path of a weights file, or None",
            "Pass one of these",
        )
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
    if not isinstance(source, WeightsFile) or source.size is None or size == (source.size, source.size):
        return ""
    wanted = f"{size[0]} px" if size[0] == size[1] else f"{size[0]} x {size[1]} px"
    return (
        f"No weights of {record.name!r} were trained at {wanted}: those of {source.size} px are used ({source.name})."
    )


@public
def download_weights(
    names: str | Sequence[str],
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
        The files, in the order of `names`.

    Raises:
        UnknownBackboneError: no such backbone.
        InvalidInputError: the size is too small for one of them, or `to` cannot be a folder.
        WeightsError: a backbone whose weights are no file to download, no connection, or a file in the
            folder that is damaged. What was downloaded before stays.
    """
    verbose = check_verbose(verbose)
    wanted = check_size(input_size)
    listed = [names] if isinstance(names, str) else list(names)
    if not listed:
        raise bad_argument("names", names, "must name a backbone", "Pass for example names=['MobileNetV2']")
    files = [_downloadable(get_backbone(name), wanted) for name in listed]
    folder = _made(to)
    return [_put(record, file, folder, verbose) for record, file in files]


def _downloadable(record: Backbone, wanted: tuple[int, int] | None) -> tuple[Backbone, WeightsFile]:
    file = record.weights_file(record.input_size(wanted))
    if file is None:
        raise WeightsError(
            f"The weights of {record.name!r} cannot be downloaded: its record names no address of a file. Leave it out."
        )
    return record, file


def _made(to: object) -> Path:
    try:
        folder = Path(to)  # type: ignore[arg-type]
        folder.mkdir(parents=True, exist_ok=True)
    except TypeError:
        raise bad_argument("to", to, "must be the path of a folder", "Pass for example to='weights'") from None
    except OSError as error:
        raise InvalidInputError(
            f"`to={str(to)!r}` cannot be a folder ({error.strerror}): weights are put into one. Choose another place."
        ) from error
    return folder


def _put(record: Backbone, file: WeightsFile, folder: Path, verbose: str | int) -> Path:
    target = folder / file.name
    if target.exists():
        fault = fault_of(target, file, record.parameters)
        if fault:
            raise _wrong_file(record, file, target, fault)
        return target
    cached = _in_caches(record, file, verbose)
    if cached is None:
        return _fetch(record, file, folder, verbose)
    say(f"Copying the weights of {record.name!r} from {cached}", verbose)
    for source in (digest_file(cached), cached):  # the file last, so that it never stands there without its hash
        if source.is_file():
            with tempfile.TemporaryDirectory(prefix=".transferkit-", dir=folder) as temporary:
                Path(shutil.copyfile(source, Path(temporary) / source.name)).replace(folder / source.name)
    return target


# ---- where files lie ----


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise WeightsError(
            f"There is no weights file {str(path)!r}: `weights` must be 'pretrained', 'imagenet', the path of a file, or "
            f"None. Check the path."
        )
    return path


def _in_own_folder(record: Backbone, file: WeightsFile) -> Path | None:
    """The file in the folder that the user named."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise WeightsError(
            f"{VARIABLE}={named!r} is no folder: the variable names one that holds weights files. Make the folder, or "
            f"unset the variable."
        )
    path = folder / file.name
    if not path.is_file():
        return None
    fault = fault_of(path, file, record.parameters)
    if fault:
        raise _wrong_file(record, file, path, fault)
    return path


def _in_caches(record: Backbone, file: WeightsFile, verbose: str | int) -> Path | None:
    for folder in cache_folders():
        path = folder / file.name
        # A file without a known hash is only as good as the folder it lies in.
        if path.is_file() and (file.digest or _is_private(folder)):
            before = path.stat()
            fault = fault_of(path, file, record.parameters)
            if not fault:
                if not file.digest and not recorded_digest(path):
                    with contextlib.suppress(OSError):  # a cache that cannot be written to can still be read
                        record_digest(path, path)
                return path
            _set_aside(path, before, fault, verbose)
    return None


def _set_aside(path: Path, seen: os.stat_result, fault: str, verbose: str | int) -> None:
    """Rename a damaged file, unless another process has put a new one in its place meanwhile."""
    try:
        if not os.path.samestat(seen, path.stat()):
            return
        number = next(n for n in range(1, 10**6) if not path.with_name(f"{path.name}.damaged-{n}").exists())
        aside = path.rename(path.with_name(f"{path.name}.damaged-{number}"))
    except OSError:
        return  # a cache that cannot be written to; the file is not used all the same
    with contextlib.suppress(OSError):
        digest_file(path).rename(digest_file(aside))
    say(f"The weights file {str(path)!r} {fault}: it is not used, and was set aside as {aside.name!r}.", verbose)


def cache_folders() -> list[Path]:
    """Where downloaded weights may lie, best place first: Keras's cache, then folders of transferkit."""
    keras = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    own = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    last = Path(tempfile.gettempdir(), f"transferkit-{os.getuid() if hasattr(os, 'getuid') else 'cache'}")
    return [keras / "models", own / "transferkit" / "weights", last]


def _writable_cache() -> Path:
    folders = cache_folders()
    for folder in folders:
        with contextlib.suppress(OSError):
            _make_private(folder)
            if _is_private(folder) and os.access(folder, os.W_OK):
                return folder
    raise WeightsError(
        f"There is no folder to keep weights in: {str(folders[0])!r} and {str(folders[1])!r} cannot be written to, or other "
        f"users could change what is in them. Set KERAS_HOME to a folder of your own, or {VARIABLE} to one that holds the "
        f"files."
    )


def _make_private(folder: Path) -> None:
    """Make a folder and those above it for this user alone; what exists stays as it is."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _is_private(folder: Path) -> bool:
    """Whether nobody but this user (or the administrator) could have put a file there."""
    if not hasattr(os, "geteuid"):
        return True  # on Windows a profile is private by itself
    status = folder.stat()
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


# ---- fetching ----


def _download(record: Backbone, file: WeightsFile, verbose: str | int) -> Path:
    return _fetch(record, file, _writable_cache(), verbose)


def _fetch(record: Backbone, file: WeightsFile, folder: Path, verbose: str | int) -> Path:
    try:
        return fetch(file, folder, record.parameters, f"the weights of {record.name!r}", verbose)
    except DownloadError as error:
        raise WeightsError(
            f"The weights of {record.name!r} could not be downloaded from {file.url} ({error}): they are fetched once and "
            f"then kept. Connect to the internet, or put the file {file.name!r} into {str(folder)!r} or into a folder that "
            f"the environment variable {VARIABLE} names, or pass weights=PATH."
        ) from error


def _wrong_file(record: Backbone, file: WeightsFile, path: Path, fault: str) -> WeightsError:
    return WeightsError(
        f"The file {str(path)!r} {fault}: it must be the weights of {record.name!r} as they are at {file.url}. Replace it "
        f"by a good copy, or pass weights=PATH for weights of your own."
    )
