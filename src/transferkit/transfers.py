"""A URL -> its bytes in an open file, over as many connections as it takes.

Nothing of it knows of weights or of Keras. requests does the talking (proxies, certificates); what is
added here is what a bad connection needs: time limits, resuming, and patience.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from socket import SOCK_STREAM, create_connection, getaddrinfo
from typing import IO
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from .progress import Bar, say
from .sources import is_url, shown_url

__all__ = ["HDF5", "DownloadError", "Transfer"]

# Seconds. Whoever is offline must be told within five; a connection that is there may pause for longer.
CONNECT = 4.0
STALL = 10.0
# A server that sends less than this many bytes in STALL seconds has stalled too.
TRICKLE = 4096
# Tries in a row that bring nothing, before anything has arrived and after; tries in all. What has arrived is kept
# between them.
FIRST_TRIES, BARREN_TRIES, TRIES = 3, 6, 50
PAUSE = 0.5  # seconds; doubled for each try in a row that brought nothing
LOOK = 0.2  # seconds between two looks at what has arrived
PIECE = 2**16  # bytes
REDIRECTS = 10
HDF5 = b"\x89HDF\r\n\x1a\n"  # how every file of weights begins


class DownloadError(Exception):
    """Why a file could not be had, in words that fit into parentheses."""


class _BrokenError(Exception):
    """The connection failed in a way that another try may mend."""


class Transfer:
    """One download, over as many connections as it takes.

    Each connection is made and read in a thread of its own, which is left behind when too little
    arrives: no limit of requests covers a look-up of the host, or an answer that drips in byte by byte.
    """

    def __init__(self, url: str, out: IO[bytes], most: int, title: str, verbose: str | int) -> None:
        self._url, self._out, self._most, self._title, self._verbose = url, out, most, title, verbose
        self._received = self._stored = 0  # bytes of the file so far; bytes that ever arrived
        self._total: int | None = None
        self._version = ""  # what the server calls this state of the file; empty = it cannot be told
        self.md5 = ""  # of the whole file as the server states it, base64; empty = it does not
        self._announced = False
        self._turn, self._lock = 0, threading.Lock()  # which thread may write

    def run(self) -> None:
        _refuse_offline(self._url)
        with Bar(f"downloading {self._title}", 0, "MB", self._verbose) as bar:
            self._try_and_try(bar)

    def _try_and_try(self, bar: Bar) -> None:
        barren = 0
        for _ in range(TRIES):
            before = self._stored
            try:
                self._watch(bar)
            except _BrokenError as error:
                barren = 0 if self._stored - before >= TRICKLE and self._received else barren + 1
                if barren >= (BARREN_TRIES if self._received else FIRST_TRIES):
                    raise DownloadError(str(error)) from error
                time.sleep(PAUSE * 2**barren)
            else:
                return
        raise DownloadError(f"the connection broke {TRIES} times")

    def _watch(self, bar: Bar) -> None:
        """One connection; given up when less than TRICKLE bytes arrive in STALL seconds."""
        failure: list[BaseException] = []
        turn = self._turn

        def work() -> None:
            try:
                self._connect_and_read(turn)
            except BaseException as error:  # it is raised again below
                failure.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        before, started = self._stored, time.monotonic()
        while thread.is_alive():
            thread.join(min(STALL, LOOK))
            bar.advance(self._received / 1e6 - bar.done, total=(self._total or 0) / 1e6)
            if time.monotonic() - started < STALL or not thread.is_alive():
                continue
            some = self._stored - before
            before, started = self._stored, time.monotonic()
            if some < TRICKLE:
                with self._lock:
                    self._turn += 1
                raise _BrokenError(f"the server sent {f'{some} bytes in' if some else 'nothing for'} {STALL:.0f} s")
        if failure:
            raise failure[0]

    def _connect_and_read(self, turn: int) -> None:
        headers = {"Accept-Encoding": "identity"}
        if self._received and self._version:  # without a version, the rest could be that of another file
            headers |= {"Range": f"bytes={self._received}-", "If-Range": self._version}
        try:
            with requests.Session() as session, self._follow(session, headers) as response:
                self._accept(response, turn)
                self._read(response, turn)
        except (requests.exceptions.SSLError, requests.exceptions.InvalidURL) as error:
            raise DownloadError(_reason(error)) from error
        except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise _BrokenError(f"the server sent nothing for {STALL:.0f} s") from error
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _BrokenError(f"the connection broke: {_reason(error)}") from error
        except (ValueError, OverflowError) as error:  # of an answer that makes no sense
            raise DownloadError("the server's answer makes no sense") from error

    def _follow(self, session: requests.Session, headers: dict[str, str]) -> requests.Response:
        """The answer at the end of all redirects; their own content is never read."""
        url = self._url
        for _ in range(REDIRECTS):
            response = session.get(url, headers=headers, stream=True, timeout=(CONNECT, STALL), allow_redirects=False)
            target = session.get_redirect_target(response)
            if target is None:
                return response
            response.close()
            url = urljoin(url, target)
            if not is_url(url) or (self._url.startswith("https:") and not url.startswith("https:")):
                raise DownloadError("the server sends the request to an address that cannot be trusted")
        raise DownloadError("the server sends the request around in circles")

    def _accept(self, response: requests.Response, turn: int) -> None:
        """Look at the head of the answer; start over if the server cannot go on where we stopped."""
        status, head = response.status_code, response.headers
        if status in (408, 429) or status >= 500:
            raise _BrokenError(f"the server answered {status} {response.reason[:60]}")
        if "html" in head.get("Content-Type", ""):
            raise DownloadError(
                "the answer is a web page, perhaps the login page of this network: sign in with a browser"
            )
        if status not in (200, 206, 416):
            raise DownloadError(f"the server answered {status} {response.reason[:60]}")
        if status == 206 and head.get("Content-Range", "") == self._rest():
            return
        with self._lock:
            self._check_turn(turn)
            self._received = 0
            self._out.seek(0)
            self._out.truncate()
        if status != 200:
            raise _BrokenError("the server sent another part than it was asked for")
        length = head.get("Content-Length", "")
        self._total = int(length) if re.fullmatch("[0-9]{1,15}", length) else None
        self._version = _version(head)
        hashes = head.get("x-goog-hash", "").replace(" ", "").split(",")
        self.md5 = next((part[4:] for part in hashes if part.startswith("md5=")), "")
        if (self._total or 0) > self._most:
            raise DownloadError(f"the server offers {self._total:,} bytes where at most {self._most:,} are expected")
        if not self._announced:
            size = f" ({self._total / 1e6:.1f} MB)" if self._total else ""
            say(f"Downloading {self._title}{size} from {shown_url(self._url)}", self._verbose)
            self._announced = True

    def _rest(self) -> str:
        """The Content-Range of an answer that goes on where we stopped, in the same file."""
        return f"bytes {self._received}-{self._total - 1}/{self._total}" if self._total and self._received else ""

    def _read(self, response: requests.Response, turn: int) -> None:
        # read1 gives what has arrived; read would wait for a whole piece, however slowly it trickles in.
        while piece := response.raw.read1(PIECE):
            if not self._received and not HDF5.startswith(piece[: len(HDF5)]):
                raise DownloadError("the answer is no HDF5 file")
            with self._lock:
                self._check_turn(turn)
                self._out.write(piece)
                self._received += len(piece)
                self._stored += len(piece)
            if self._received > self._most:
                raise DownloadError(f"the server sends more than the {self._most:,} bytes that are expected at most")
        if self._total is not None and self._received != self._total:
            raise _BrokenError(f"the connection ended after {self._received:,} of {self._total:,} bytes")

    def _check_turn(self, turn: int) -> None:
        if turn != self._turn:
            raise _BrokenError("this connection was given up")


def _version(head: Mapping[str, str]) -> str:
    """What names this state of the file for If-Range (RFC 9110, 13.1.5): a strong ETag, else the date."""
    tag = head.get("ETag", "")
    return tag if tag.startswith('"') else head.get("Last-Modified", "")


def _refuse_offline(url: str) -> None:
    """Look the host up and reach one of its addresses, within CONNECT seconds in all."""
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    try:
        address = requests.utils.prepend_scheme_if_needed(proxy, "http") if proxy else url
        parts = urlsplit(address)
        default = {"https": 443, "http": 80}.get(parts.scheme, 1080)
        host, port = parts.hostname or "", parts.port or default
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        raise DownloadError(f"the proxy {shown_url(proxy or url)} makes no sense") from error
    reached, reasons = threading.Event(), [f"no connection to {host} within {CONNECT:.0f} s"]

    def reach(target: tuple[str, int]) -> None:
        try:
            create_connection(target, timeout=CONNECT).close()
            reasons.clear()
        except (OSError, ValueError) as error:
            reasons[:] = reasons and [f"no connection to {host}: {getattr(error, 'strerror', None) or error}"]
        if not reasons:
            reached.set()

    def look_up() -> None:
        try:
            found = {info[0]: info[4][:2] for info in reversed(getaddrinfo(host, port, type=SOCK_STREAM))}
        except (OSError, ValueError) as error:
            reasons[:] = [f"no connection to {host}: {getattr(error, 'strerror', None) or error}"]
            reached.set()
            return
        # One address of each kind at once: a broken IPv6 must not use up the time of IPv4.
        threads = [threading.Thread(target=reach, args=(target,), daemon=True) for target in found.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        reached.set()

    threading.Thread(target=look_up, daemon=True).start()
    reached.wait(CONNECT)
    if reasons:
        raise DownloadError(reasons[0])


def _reason(error: BaseException) -> str:
    """The message at the bottom of a chain of wrapped errors, which says what happened."""
    while inner := getattr(error, "reason", None) or error.__cause__ or next(iter(error.args), None):
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = str(error).strip().splitlines()
    return shown_url(text[0])[:200] if text else type(error).__name__
