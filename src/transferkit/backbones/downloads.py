"""Download a file from a server into a folder, and check it.

requests fetches the bytes; pooch retries, writes under a temporary name and renames at the end. This module checks the
files that arrive, and gives the reasons for failures in plain words.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h5py
import pooch
import requests

from .._common.console import Console
from .._common.files import VARIABLE
from ..errors import WeightsError, first_line, shown_url
from .record import Backbone, WeightsFile

CONNECT, READ = 4.0, 10.0  # seconds to reach a host, and to wait for the next bytes
RETRIES = 2
PIECE = 2**16  # bytes
# A download is at most 8 bytes per parameter plus MARGIN, or MOST if the number of parameters is not stated.
MARGIN, MOST = 64 * 2**20, 16 * 2**30  # bytes
SPARE = 10_000  # numbers that a file may hold besides the weights: Keras's own seeds and counters
HDF5 = b"\x89HDF\r\n\x1a\n"  # how every weights file begins
# Errors from requests that a retry would not fix. Bad URLs are among the ValueErrors.
LASTING = (ValueError, requests.exceptions.SSLError, requests.exceptions.ProxyError, requests.TooManyRedirects)

pooch.get_logger().setLevel("WARNING")  # it prints whole URLs, including any password


class DownloadError(Exception):
    """Why a file could not be downloaded, in words that fit into parentheses. pooch does not retry after it."""


def fetch(record: Backbone, file: WeightsFile, folder: Path, console: Console, cached: Path | None = None) -> Path:
    """Download a file into a folder, or copy it from a cache; it appears there only once it is complete.

    Raises:
        WeightsError: no connection, a server error, a stalled download, the wrong file, or a full disk.
    """

    def bring(url: str, target: str, _: object) -> None:
        if cached:
            shutil.copyfile(cached, target)
        else:
            _download(url, Path(target), record, console)
        if not file.digest and (fault := _fault_of_form(Path(target), record.parameters)):
            raise DownloadError(f"the file that arrived {fault}")
        Path(target).chmod(0o644)  # pooch makes files private, but the folder may be shared

    path = folder / file.name
    registry, urls = {file.name: file.digest or None}, {file.name: file.url}
    # An absolute path, since pooch expands a leading ~.
    place = pooch.create(folder.absolute(), base_url="", registry=registry, urls=urls, retry_if_failed=RETRIES)
    try:
        if not cached:
            _refuse_offline(file.url)
        _digest_file(path).unlink(missing_ok=True)  # of an earlier file
        place.fetch(file.name, downloader=bring)
        keep_digest(path, file.digest)
    except (DownloadError, ValueError, OSError) as error:  # ValueError: wrong hash; requests raises OSErrors
        raise WeightsError(
            f"The weights of {record.name!r} could not be downloaded from {shown_url(file.url)} ({_reason(error)}): a "
            f"download is needed once. Connect to the internet, or put the file {file.name!r} into "
            f"{str(folder)!r} or into a folder that the environment variable {VARIABLE} names, or pass weights=PATH."
        ) from error
    return path


def _refuse_offline(url: str) -> None:
    """Check that the host answers within `CONNECT` seconds; requests would wait that long for each of its addresses."""
    if requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)):
        return
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        # Try one address of each family, IPv6 and IPv4, until one answers.
        infos = {info[0]: info[4] for info in socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)}
        *others, last = (str(address[0]) for address in infos.values())
        for host in others:
            with contextlib.suppress(OSError):
                socket.create_connection((host, port), CONNECT / len(infos)).close()
                return
        socket.create_connection((last, port), CONNECT / len(infos)).close()
    except OSError as error:
        raise DownloadError(f"no connection to {parts.hostname}: {error.strerror or error}") from error


def _download(url: str, target: Path, record: Backbone, console: Console) -> None:
    """Try once; errors from requests propagate where a retry may help."""
    most = 8 * record.parameters + MARGIN if record.parameters else MOST
    title = f"the weights of {record.name!r}"
    try:
        with requests.get(url, stream=True, timeout=(CONNECT, READ)) as response:
            _check_answer(response)
            total = int(response.headers.get("Content-Length", 0))
            size = f" ({total / 1e6:.1f} MB)" if total else ""
            console.say(f"Downloading {title}{size} from {shown_url(url)}")
            with console.bar(f"downloading {title}", total / 1e6, "MB") as bar, target.open("wb") as out:
                for piece in response.iter_content(PIECE):
                    out.write(piece)
                    bar.advance(len(piece) / 1e6)
                    if out.tell() > most:
                        raise DownloadError(f"the server sent more than the expected maximum of {most:,} bytes")
    except LASTING as error:
        raise DownloadError(_reason(error)) from error


def _check_answer(response: requests.Response) -> None:
    """Check the headers of a response: raise an HTTPError if a retry may help, else a DownloadError."""
    status = response.status_code
    if status != 200:
        answered = f"the server answered {status} {response.reason}"
        raise requests.HTTPError(answered) if status in (408, 429) or status >= 500 else DownloadError(answered)
    if "html" in response.headers.get("Content-Type", ""):
        raise DownloadError("the answer is a web page, perhaps the login page of this network: sign in with a browser")
    addresses = [answer.url for answer in (*response.history, response)]
    if addresses[0].startswith("https:") and any(address.startswith("http:") for address in addresses):
        raise DownloadError("the server redirects from https to http, which cannot be trusted")


def _reason(error: BaseException) -> str:
    """The innermost message of chained errors; the outer ones repeat the URL, with any password in it."""
    for inner in (getattr(error, "reason", None), *error.args[:1]):
        if isinstance(inner, BaseException):
            return _reason(inner)
    text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    return f"the server sent no data for {READ:.0f} s" if "Read timed out" in text else shown_url(text).rstrip(".")


# ---- checks of a file ----


def fault_of(path: Path, digest: str, values: int) -> str:
    """What is wrong with a file, as the end of a sentence; empty if nothing is.

    A known hash decides: `digest`, else the one recorded beside the file when it was first seen. Without a hash,
    the file must be an HDF5 file with the expected number of values.
    """
    expected = digest or _recorded_digest(path)
    if not expected:
        return _fault_of_form(path, values)
    kind, _, digits = expected.partition(":")
    found = pooch.file_hash(str(path), alg=kind)
    source = "" if digest else f", as {_digest_file(path).name!r} beside it says"
    return f"has the {kind} hash {found} where {digits} is expected{source}" if found != digits else ""


def _fault_of_form(path: Path, values: int) -> str:
    with path.open("rb") as handle:
        if handle.read(len(HDF5)) != HDF5:
            return "is not an HDF5 file"
    try:
        held = declared_values(path)
    except Exception as error:  # h5py raises many types of errors for a damaged file
        return f"is a damaged HDF5 file ({first_line(error)})"
    if values and abs(held - values) > SPARE:
        return f"holds {held:,} numbers where {values:,} are expected"
    return ""


def declared_values(path: Path) -> int:
    """The number of values that an HDF5 file declares; they are not read.

    Raises:
        ValueError: the file points to other files. h5py raises other errors for a damaged file.
    """
    items: list[Any] = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda _, item: items.append(item))
        data = [item for item in items if isinstance(item, h5py.Dataset)]
        if any(item.external or item.is_virtual for item in data):
            raise ValueError("it points to other files")
        return sum(item.size or 0 for item in data)  # an empty one has no size


def keep_digest(path: Path, digest: str, again: bool = False) -> None:
    """Write the SHA-256 of a file without a known hash beside it, once or `again`, so that later damage is noticed."""
    kept = _digest_file(path)
    if not digest and (again or not kept.exists()):
        with contextlib.suppress(OSError):  # a cache that cannot be written to can still be read
            kept.write_text(f"{pooch.file_hash(str(path))}  {path.name}\n", encoding="utf-8")  # the format of sha256sum


def _recorded_digest(path: Path) -> str:
    with contextlib.suppress(OSError):
        digits = _digest_file(path).read_text(encoding="utf-8", errors="replace").partition(" ")[0].strip().lower()
        return f"sha256:{digits}" if len(digits) == 64 else ""
    return ""


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
