"""Files at URLs: ``s3://``, ``gs://``, ``hf://``, ``https://`` and whatever else fsspec supports (extra ``remote``).

Text that begins with a scheme is a URL; a `Path` never is. URLs come only from the user: nothing that is read leads to
another one. User names, passwords and queries, which may contain a signature, are left out of all messages.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import (
    InvalidInputError,
    MissingExtraError,
    TransferKitError,
    bad_argument,
    first_line,
    import_extra,
    shown_url,
    some_of,
)
from .files import local_path

READERS = 32  # threads that wait for responses: a request takes far longer than processing its response
PAUSES = (0.3, 1.0)  # seconds before a failed request is tried again
TEMPORARY = (408, 425, 429)  # status codes below 500 after which a second request may succeed
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # of two letters or more: C:// is a drive
COMMON = ("s3", "gs", "az", "hf", "https", "memory")
WEB = ("http", "https")
ARCHIVES = ("zip", "tar", "libarchive")
# What file systems call the version of a file, best first.
VERSIONS = ("ETag", "etag", "blob_id", "md5Hash", "Last-Modified", "LastModified", "last_modified", "mtime", "created")


@dataclass(frozen=True, order=True)
class Remote:
    """A file or a folder at a URL; `str` of it is for messages.

    Attributes:
        size: bytes; None = not known yet.
        version: changes when the content does; empty = not known.
    """

    url: str
    size: int | None = field(default=None, compare=False)
    version: str = field(default="", compare=False)

    def __str__(self) -> str:
        return shown_url(self.url)

    @property
    def name(self) -> str:
        """The last part of its path; in a bucket, a question mark is part of a name."""
        return str(self).rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.name)[1]  # noqa: PTH122

    @property
    def is_web(self) -> bool:
        """Whether it is on the web, where folders cannot be listed."""
        return self.url.lower().startswith(tuple(f"{scheme}://" for scheme in WEB))

    def stat(self) -> Remote:
        """The same with size and version; an OSError if there is no such file."""
        if self.version:
            return self
        return self._described(self._again(lambda files, path: files.info(path)))

    def read(self, most: int | None = None) -> bytes:
        """The content, or only its first bytes, `most` at most."""
        return bytes(self._again(lambda files, path: files.cat_file(path, end=most)))

    def download(self, target: Path) -> None:
        self._again(lambda files, path: files.get_file(path, str(target)))

    def write(self, content: Path | bytes) -> None:
        """Write the content of a local file, or bytes, to it."""
        with self._reached() as (files, path):
            if isinstance(content, Path):
                files.put_file(str(content), path)
            else:
                files.pipe_file(path, content)

    def files(self) -> list[tuple[str, Remote]]:
        """Files below a folder as (path in it, file with size and version), sorted; for a file, ``""`` and itself."""
        with self._reached() as (files, path):
            found = files.find(path, detail=True)
        root, start = self.url.rstrip("/"), path.rstrip("/")
        names = {name: name[len(start) :].strip("/") for name, info in found.items() if info.get("type") != "directory"}
        return sorted(
            (inner, replace(self, url=f"{root}/{inner}" if inner else root)._described(found[name]))
            for name, inner in names.items()
        )

    def _described(self, info: dict[str, Any]) -> Remote:
        size = info.get("size")
        version: Any = next((info[name] for name in VERSIONS if info.get(name)), "")
        version = version.timestamp() if hasattr(version, "timestamp") else version
        return replace(self, size=size, version=f"{size} {version}" if version else "")

    def _again(self, work: Callable[[Any, str], Any]) -> Any:
        """The result of `work`, tried again after a short pause: servers and networks fail for a moment."""
        for pause in PAUSES:
            try:
                with self._reached() as (files, path):
                    return work(files, path)
            except (FileNotFoundError, PermissionError):  # noqa: PERF203
                raise
            except OSError:
                time.sleep(pause)
        with self._reached() as (files, path):
            return work(files, path)

    @contextmanager
    def _reached(self) -> Iterator[tuple[Any, str]]:
        """The file system and the path in it; any failure becomes an OSError without secrets."""
        start = re.match(r"[^/]*//[^/]*", self.url)
        try:
            files = _file_system(start[0] if start else self.url, os.getpid())
            yield files, files._strip_protocol(self.url)
        except TransferKitError:
            raise
        except Exception as error:  # each file system has errors of its own
            raise self._what_failed(error) from None

    def _what_failed(self, error: Exception) -> OSError:
        """The error as an OSError without secrets; over HTTP, fsspec calls every failure of a request "not found"."""
        cause = error.__cause__ if self.is_web and isinstance(error, FileNotFoundError) else None
        real = cause if isinstance(cause, Exception) else error
        status = getattr(real, "status", 0) if self.is_web else 0
        if isinstance(real, FileNotFoundError) or status in (404, 410):
            return FileNotFoundError("there is no such file")
        reason = f"{status} {getattr(real, 'message', '')}" if status else first_line(real)
        if isinstance(real, PermissionError) or status in (401, 403):
            return PermissionError(shown_url(f"no permission to read it: {reason}"))
        if 400 <= status < 500 and status not in TEMPORARY:
            return PermissionError(shown_url(f"the server refuses the request: {reason}"))
        return OSError(shown_url(f"{type(real).__name__}: {reason}"))


Location = Path | Remote


def located(path: str | os.PathLike[str]) -> Location:
    """A path that a user passed; a URL is checked as far as possible without a connection.

    Raises:
        InvalidInputError: a scheme that fsspec does not know.
        MissingExtraError: a package that reads such URLs is not installed.
    """
    match = SCHEME.match(path) if isinstance(path, str) else None
    if match is None or not isinstance(path, str):
        return local_path(path)
    remote, scheme = Remote(path), match[1].lower()
    if "::" in path or scheme in ARCHIVES:
        raise InvalidInputError(
            f"{str(remote)!r} is in an archive, or a chain of URLs: it must be one URL. Unpack it first."
        )
    fsspec = import_extra("fsspec", f"Reading {str(remote)!r}", "remote")
    known = fsspec.available_protocols()
    if scheme not in known:
        schemes = [*COMMON, *(name for name in known if name not in COMMON)]
        raise InvalidInputError(
            f"{str(remote)!r} is a URL of the scheme {scheme!r}, which is not known: the scheme must be one of "
            f"{some_of(schemes, len(COMMON))}. Correct it, or write './' in front if it is a path on this machine."
        )
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        implementations = import_module("fsspec.registry").known_implementations
        package = implementations[scheme]["class"].partition(".")[0]
        package = "" if package == "fsspec" else package  # https needs only a part of the extra
        raise MissingExtraError(f"Reading {str(remote)!r}", "remote", package) from error
    return remote


def refuse_url(name: str, path: object) -> None:
    """Refuse a URL for an argument that takes a local path: it would become a folder on this machine."""
    if isinstance(path, str) and SCHEME.match(path):
        raise bad_argument(name, path, "is a URL: this must be a path on this machine", "Pass such a path")


@functools.lru_cache(maxsize=16)
def _file_system(start: str, process: int) -> Any:  # noqa: ARG001  # its threads do not survive a fork
    """The file system for URLs that start like this. It caches no listings, since files come and go."""
    fsspec = import_extra("fsspec", f"Reading {shown_url(start)!r}", "remote")
    options = {"auto_mkdir": True} if start.lower().startswith(("file:", "local:")) else {}  # stores have no folders
    return fsspec.core.url_to_fs(start, use_listings_cache=False, **options)[0]
