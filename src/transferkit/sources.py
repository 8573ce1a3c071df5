"""`WeightsFile`, and the other ways to say where the pretrained weights of a backbone come from."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ._public import public
from .arguments import check_count
from .errors import InvalidInputError, bad_argument

__all__ = ["Pretrained", "WeightsFile", "is_url", "shown_url", "weights_source"]

DIGEST = "(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})?"
REMEDY = "Pass for example WeightsFile('https://example.org/mynet.weights.h5', 'sha256:...')"


@public
@dataclass(frozen=True)
class WeightsFile:
    """A weights file that can be downloaded.

    Attributes:
        url: where it is, ``https://...`` or ``http://...``.
        digest: ``"sha256:"`` or ``"md5:"`` and the hexadecimal digits of the file's hash; empty = not known,
            so a download is checked by its form only.
        size: the input height and width in pixels that the weights were trained at; None = not stated.
        name: of the file on disk, ending in ``.h5``; empty = as in the URL.

    Raises:
        InvalidInputError: an address without a host, a digest of another form, a size below 1, or another name.

    Example:
        >>> import transferkit as tk
        >>> tk.WeightsFile("https://example.org/mynet.weights.h5").name
        'mynet.weights.h5'
    """

    url: str
    digest: str = ""
    size: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not is_url(self.url):
            raise bad_argument("url", self.url, "must begin with https:// or http:// and a host", REMEDY)
        if not isinstance(self.digest, str) or not re.fullmatch(DIGEST, self.digest, re.IGNORECASE):
            rule = "must be 'sha256:' and 64 hexadecimal digits, or 'md5:' and 32"
            raise bad_argument("digest", self.digest, rule, REMEDY)
        if self.size is not None:
            check_count("size", self.size, example=224)
        name = self.name or unquote(urlsplit(self.url).path).rpartition("/")[2]
        if not isinstance(name, str) or not re.fullmatch(r"[^/\\\0]*\.h5", name) or len(name.encode()) > 200:
            raise bad_argument("name", name, "must be the name of a file, ending in .h5, of 200 bytes or less", REMEDY)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "digest", self.digest.lower())


Pretrained = str | Path | WeightsFile | Sequence[WeightsFile] | Callable[[Any], object] | None


def weights_source(given: object) -> tuple[WeightsFile, ...] | Path | Callable[[Any], object] | None:
    """A record's `pretrained` in one of four forms: files, a path, a function, or None.

    Raises:
        InvalidInputError: anything else.
    """
    if given is None or callable(given):
        return given
    if isinstance(given, WeightsFile):
        return (given,)
    if is_url(given):
        return (WeightsFile(str(given)),)
    if isinstance(given, os.PathLike) or (isinstance(given, str) and given):
        return Path(given)
    if isinstance(given, Sequence) and given and all(isinstance(file, WeightsFile) for file in given):
        return tuple(given)
    raise InvalidInputError(
        f"`pretrained={given!r}` must be a WeightsFile or several, the URL or the path of a file, a function that fills a "
        f"model with weights, or None. Pass one of these."
    )


def is_url(text: object) -> bool:
    """Whether this is a web address with a host and, if it names one, a valid port."""
    if not isinstance(text, str) or not re.match(r"https?://[^/\s]", text, re.IGNORECASE):
        return False
    try:
        parts = urlsplit(text)
        host = (parts.hostname or "").encode("idna" if not parts.netloc.startswith("[") else "ascii")
        return bool(host) and parts.port != 0
    except ValueError:  # a port that is not a number, a bracket that is not closed, a label that is too long
        return False


def shown_url(text: str) -> str:
    """An address without the password and the query in it, for messages."""
    return re.sub(r"(https?://)[^/@\s]*@", r"\1", re.sub(r"(https?://[^?\s]*)\?\S*", r"\1", text))
