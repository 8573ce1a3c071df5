"""A URL -> a verified file in a folder: time limits, resuming, a temporary name, checks, then a rename.

Nothing of it knows of networks or of Keras. requests does the talking (proxies, certificates,
redirects); what is added here is what a bad connection needs.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection
from typing import IO, Any
from urllib.parse import urlsplit

import requests
import urllib3

from .progress import Bar, say
from .sources import WeightsFile

__all__ = ["DownloadError", "fault_of", "fetch", "record_digest"]

# Seconds. Whoever is offline must be told within five; a connection that is there may pause for longer.
CONNECT = 4.0
STALL = 10.0
# A server that sends less than this many bytes in STALL seconds has stalled too.
TRICKLE = 4096
# Tries in a row that bring nothing, before anything has arrived and after; tries in all. What has arrived is kept
# between them.
FIRST_TRIES, BARREN_TRIES, TRIES = 3, 6, 50
PAUSE = 0.5  # seconds; doubled for each try in a row that brought nothing
PIECE = 2**16  # bytes
HDF5 = b"\x89HDF\r\n\x1a\n"
STALE = 24 * 3600  # seconds after which a temporary file was left by a process that was killed
PREFIX, SUFFIX = ".transferkit-", ".part"


class DownloadError(Exception):
    """Why a file could not be had, in words that fit into parentheses."""


class _BrokenError(Exception):
    """The connection failed in a way that another try may mend."""


def fetch(file: WeightsFile, folder: Path, values: int, title: str, verbose: str | int) -> Path:
    """Download a file into a folder, where it appears under its name only once it is whole and right.

    Args:
        file: what to download.
        folder: exists and can be written to.
        values: how many numbers the file should hold; 0 = not known.
        title: what the message and the progress bar say.
        verbose: 0 = neither.

    Raises:
        DownloadError: no connection, an error of the server, a stall, or something else than the file.
    """
    _sweep(folder)
    try:
        with _temporary(folder) as temporary:
            with temporary.open("wb") as out:
                _Transfer(file.url, out, title, verbose).run()
                out.flush()
                os.fsync(out.fileno())
            fault = fault_of(temporary, file, values)
            if fault:
                raise DownloadError(f"what the server sent {fault}")
            if not file.digest:
                record_digest(temporary, folder / file.name)
            temporary.replace(folder / file.name)
    except OSError as error:
        raise DownloadError(f"{str(folder)!r}: {error.strerror or error}") from error
    return folder / file.name


def fault_of(path: Path, file: WeightsFile, values: int = 0) -> str:
    """What is wrong with a file, as the end of a sentence; empty if nothing is.

    The hash decides where one is known: that of `file`, else the one that was recorded beside the
    file when it was first seen. Without one it must be an HDF5 file of as many numbers as expected.
    """
    with path.open("rb") as handle:
        if handle.read(len(HDF5)) != HDF5:
            return "is no HDF5 file"
        expected = file.digest or recorded_digest(path)
        if expected:
            kind, _, digits = expected.partition(":")
            handle.seek(0)
            found = _digest(handle, kind)
            return "" if found == digits else f"has the {kind} hash {found} where {digits} is expected"
    return _fault_of_form(path, values)


def record_digest(source: Path, target: Path) -> None:
    """Write the SHA-256 of `source` beside `target`, in the form of sha256sum: later damage is seen by it."""
    with source.open("rb") as handle:
        line = f"{_digest(handle, 'sha256')}  {target.name}\n"
    with _temporary(target.parent) as temporary:
        temporary.write_text(line, encoding="utf-8")
        temporary.replace(digest_file(target))


def recorded_digest(path: Path) -> str:
    """``"sha256:..."`` as `record_digest` wrote it, or empty."""
    try:
        digits = digest_file(path).read_text(encoding="utf-8").split()[0].lower()
    except (OSError, UnicodeDecodeError, IndexError):
        return ""
    return f"sha256:{digits}" if len(digits) == 64 else ""


def digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _digest(handle: IO[bytes], kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=kind == "sha256")
    while piece := handle.read(2**20):
        digest.update(piece)
    return digest.hexdigest()


def _fault_of_form(path: Path, values: int) -> str:
    import h5py

    held = 0

    def add(_: str, item: Any) -> None:
        nonlocal held
        held += item.size if isinstance(item, h5py.Dataset) else 0

    try:
        with h5py.File(path, "r") as content:
            content.visititems(add)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        return f"is a damaged HDF5 file ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
    if values and abs(held - values) > 10_000:  # a few numbers may be Keras's own: seeds, counters
        return f"holds {held:,} numbers where {values:,} are expected"
    return ""


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """The path of a new file that only this process knows; gone at the end, unless it was renamed."""
    path = folder / f"{PREFIX}{uuid.uuid4().hex}{SUFFIX}"
    path.touch(exist_ok=False)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left here: files of our own naming, a day old."""
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE:
                path.unlink()


class _Transfer:
    """One download, over as many connections as it takes."""

    def __init__(self, url: str, out: IO[bytes], title: str, verbose: str | int) -> None:
        self._url, self._out, self._title, self._verbose = url, out, title, verbose
        self._received = 0
        self._total: int | None = None
        self._md5 = ""  # as the server states it, base64
        self._announced = False
        self._session = requests.Session()
        self._session.max_redirects = 10

    def run(self) -> None:
        self._refuse_offline()
        barren = 0
        for _ in range(TRIES):
            before = self._received
            try:
                self._connect_and_read()
            except _BrokenError as error:
                barren = 0 if self._received - before >= TRICKLE else barren + 1
                if barren >= (BARREN_TRIES if self._received else FIRST_TRIES):
                    raise DownloadError(str(error)) from error
                time.sleep(PAUSE * 2**barren)
            else:
                return self._check_against_the_servers_word()
        raise DownloadError(f"the connection broke {TRIES} times")

    def _refuse_offline(self) -> None:
        """Look the host up and reach it, within CONNECT seconds in all.

        The limit of requests covers neither the look-up nor the second address of a host. A thread that
        is stuck in one of them is left behind.
        """
        proxy = requests.utils.select_proxy(self._url, requests.utils.get_environ_proxies(self._url))
        parts = urlsplit(proxy or self._url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        reasons = [f"no connection to {host} within {CONNECT:.0f} s"]

        def reach() -> None:
            try:
                create_connection((host, port), timeout=CONNECT).close()
                reasons.clear()
            except OSError as error:
                reasons[:] = [f"no connection to {host}: {error.strerror or error}"]

        thread = threading.Thread(target=reach, daemon=True)
        thread.start()
        thread.join(CONNECT)
        if reasons:
            raise DownloadError(reasons[0])

    def _connect_and_read(self) -> None:
        headers = {"Accept-Encoding": "identity"}
        if self._received:
            headers["Range"] = f"bytes={self._received}-"
        try:
            with self._session.get(self._url, headers=headers, stream=True, timeout=(CONNECT, STALL)) as response:
                self._accept(response)
                self._read(response)
        except requests.TooManyRedirects as error:
            raise DownloadError("the server sends the request around in circles") from error
        except (requests.exceptions.SSLError, requests.exceptions.InvalidURL) as error:
            raise DownloadError(_innermost(error)) from error
        except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise _BrokenError(f"the server sent nothing for {STALL:.0f} s") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _BrokenError(f"the connection broke: {_innermost(error)}") from error

    def _accept(self, response: requests.Response) -> None:
        """Look at the head of the answer; start over if the server cannot go on where we stopped."""
        status = response.status_code
        if status in (408, 429) or status >= 500:
            raise _BrokenError(f"the server answered {status} {response.reason}")
        if status not in (200, 206):
            raise DownloadError(f"the server answered {status} {response.reason}")
        if "html" in response.headers.get("Content-Type", ""):
            raise DownloadError(
                "the answer is a web page, perhaps the login page of this network: sign in with a browser"
            )
        going_on = response.headers.get("Content-Range", "").startswith(f"bytes {self._received}-")
        if status == 206 and going_on:
            return
        self._received = 0
        self._out.seek(0)
        self._out.truncate()
        if status == 206:
            raise _BrokenError("the server sent another part than it was asked for")
        length = response.headers.get("Content-Length", "")
        self._total = int(length) if length.isdigit() else None
        hashes = response.headers.get("x-goog-hash", "").replace(" ", "").split(",")
        self._md5 = next((part[4:] for part in hashes if part.startswith("md5=")), "")
        if not self._announced:
            size = f" ({self._total / 1e6:.1f} MB)" if self._total else ""
            say(f"Downloading {self._title}{size} from {self._url}", self._verbose)
            self._announced = True

    def _read(self, response: requests.Response) -> None:
        with Bar(f"downloading {self._title}", (self._total or 0) / 1e6, "MB", self._verbose) as bar:
            bar.advance(self._received / 1e6)
            window, started = 0, time.monotonic()
            # read1 gives what has arrived; read would wait for a whole piece, however slowly it trickles in.
            while piece := response.raw.read1(PIECE):
                if not self._received and not HDF5.startswith(piece[: len(HDF5)]):
                    raise DownloadError("the answer is no HDF5 file")
                self._out.write(piece)
                self._received += len(piece)
                window += len(piece)
                bar.advance(len(piece) / 1e6)
                if time.monotonic() - started > STALL:
                    if window < TRICKLE:
                        raise _BrokenError(f"the server sent {window} bytes in {STALL:.0f} s")
                    window, started = 0, time.monotonic()
        if self._total is not None and self._received < self._total:
            raise _BrokenError(f"the connection ended after {self._received:,} of {self._total:,} bytes")

    def _check_against_the_servers_word(self) -> None:
        if not self._md5:
            return
        self._out.flush()
        with Path(self._out.name).open("rb") as handle:
            found = bytes.fromhex(_digest(handle, "md5"))
        if base64.b64encode(found).decode() != self._md5:
            raise DownloadError("what arrived has another hash than the server states")


def _innermost(error: BaseException) -> str:
    """The message at the bottom of a chain of wrapped errors, which says what happened."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    text = str(error).strip().splitlines()
    return text[0] if text else type(error).__name__
