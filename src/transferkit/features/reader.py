"""Opens images, each at most once, on several threads; does not inspect again what the store knows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import BoundedSemaphore
from typing import TypeVar

import numpy as np
from PIL import Image

from .._common.console import Console
from .._common.remote import READERS, Remote
from ..cache import KEY, KEY_BYTES, Store, content_key
from ..errors import ImageReadError
from ..images import (
    PIXEL_RULE,
    Content,
    Header,
    Images,
    Pixels,
    Resizing,
    Size,
    content_of,
    header_of,
    open_image,
    to_pixels,
    unreadable,
)
from ..network import thread_count
from .inspection import THUMBNAIL_BYTES, Inspection, Oddity, Seen, oddities_of, refuse_unreadable, thumbnail

CHUNK = 8  # images that are read together
# Which content is at a URL, by URL, size and version: a file that has not changed is not downloaded again to find out.
ADDRESSES = "addresses/1", (("uint8", (KEY_BYTES,)),)

T = TypeVar("T")
R = TypeVar("R")


class OpenedImage:
    """One image, read at most once, decoded at most once.

    Args:
        key: of its content, if known: the content is then read only when it is needed; None = it is read now.
        address: the file at a URL that it comes from, with its version, if the key is to be remembered.

    Attributes:
        seen: what its inspection found; None if it was not inspected.
        is_new: whether the store did not have `seen`.
    """

    def __init__(
        self,
        images: Images,
        index: int,
        resizing: Resizing,
        keyed: bool,
        key: bytes | None = None,
        address: Remote | None = None,
    ) -> None:
        self.index, self.address, self._images, self._resizing = index, address, images, resizing
        self._read: Content | None = content_of(images, index) if key is None else None
        self._opened: Image.Image | None = None
        self._pixels: dict[Resizing, Pixels] = {}
        self.key = key or (content_key(self.content()) if keyed else index.to_bytes(KEY_BYTES, "big"))
        self.seen: Seen | None = None
        self.is_new = False

    def content(self) -> Content:
        if self._read is None:
            content = content_of(self._images, self.index)
            if isinstance(content, bytes) and content_key(content) != self.key:  # its values would get a wrong key
                raise unreadable(self._images.name(self.index), "it changed while the images were read")
            self._read = content
        return self._read

    def pixels(self) -> Pixels:
        """float32 `(height, width, 3)`, RGB 0-255, upright, of the wanted size."""
        return self._resized(self._resizing)

    def _resized(self, resizing: Resizing) -> Pixels:
        if resizing not in self._pixels:
            name = self._images.name(self.index)
            self._pixels[resizing] = to_pixels(self.content(), name, resizing, self._opened)
        return self._pixels[resizing]

    def look(self) -> Seen:
        """Inspect the image for the data check."""
        content, name = self.content(), self._images.name(self.index)
        if isinstance(content, bytes):
            self._opened = open_image(content, name)
            header = header_of(self._opened, content, name)
        else:
            header = Header("", *content.shape[:2])
        whole = self._resized(Resizing(self._resizing.size))
        return Seen(thumbnail(whole), header)

    def close(self) -> None:
        """Free the memory of what was read."""
        self._read, self._opened, self._pixels = b"", None, {}

    def oddities(self, header: Header) -> tuple[Oddity, ...]:
        return oddities_of(header, self._images.suffix(self.index))


class ImageReader:
    """Opens images, a few at a time and on any thread; notes which cannot be read and, if it inspects, what it finds.

    Args:
        store: holds thumbnails, and the keys of the contents at URLs. Thumbnails depend a little on the size that an
            image is reduced to, so each size has its own. They show the whole image, so all resizing rules share them.
        store_from: the keys of new URLs are stored once there are this many.

    Attributes:
        threads: how many may open images at once.
        working: held while a thread decodes or computes: the many threads that wait for responses take turns.
    """

    def __init__(
        self, images: Images, resizing: Resizing, store: Store | None, inspects: bool = True, store_from: int = 0
    ) -> None:
        self.images, self.resizing, self.inspects = images, resizing, inspects
        self.inspection = Inspection(len(images), inspects)
        name, tensors = f"thumbnails/2/{resizing.size}/{PIXEL_RULE}", (("uint8", (THUMBNAIL_BYTES,)), ("S64", ()))
        self._thumbnails = store.session(name, tensors) if store is not None and inspects else None
        self._addresses = store.session(*ADDRESSES, store_from) if store is not None and images.are_remote else None
        self.threads = READERS if images.are_remote else thread_count()
        self.working = BoundedSemaphore(thread_count())

    def open(self, indices: Iterable[int], keyed: bool = True) -> list[OpenedImage]:
        """The images that can be read; they are decoded only if they are inspected and the store does not know them."""
        opened: list[OpenedImage] = []
        for index in indices:
            with self.noting_failure(index):
                image = self._open(index, keyed)
                self.inspection.keys[index] = np.frombuffer(image.key, np.uint8)
                opened.append(image)
        if not self.inspects:
            return opened
        for image, seen in zip(opened, self._known(opened), strict=True):
            with self.noting_failure(image.index):
                if seen is None:
                    image.content()
                    with self.working:
                        image.seen, image.is_new = image.look(), True
                else:
                    image.seen = seen
                self._note(image, image.seen)
        return [image for image in opened if image.seen is not None]

    def _open(self, index: int, keyed: bool) -> OpenedImage:
        source = self.images.sources[index]
        if self._addresses is None or not isinstance(source, Remote):
            return OpenedImage(self.images, index, self.resizing, keyed)
        try:
            address = source.stat()
        except OSError as error:
            raise unreadable(self.images.name(index), str(error)) from error
        rows, found = self._addresses.read(np.frombuffer(_address_key(address), KEY))
        key = rows["f0"].tobytes() if address.version and found.all() else None
        return OpenedImage(self.images, index, self.resizing, True, key, None if key else address)

    @contextmanager
    def noting_failure(self, index: int) -> Iterator[None]:
        """A block that may fail to read an image, in which case the failure is noted."""
        try:
            yield
        except ImageReadError as error:
            self.inspection.failures[index] = error

    def keep(self, opened: Iterable[OpenedImage]) -> None:
        """Store what is new. Call from one thread only."""
        opened = list(opened)
        fetched = [(image.address, image.key) for image in opened if image.address and image.address.version]
        if self._addresses is not None and fetched:
            found = [(np.frombuffer(key, np.uint8),) for _, key in fetched]
            keys = np.frombuffer(b"".join(_address_key(address) for address, _ in fetched), KEY)
            self._addresses.put(keys, np.array(found, self._addresses.table.dtype))
        new = [(image.key, image.seen) for image in opened if image.is_new and image.seen is not None]
        if self._thumbnails is not None and new:
            rows = [(seen.thumbnail, "|".join(map(str, seen.header))) for _, seen in new]
            keys = np.frombuffer(b"".join(key for key, _ in new), KEY)
            self._thumbnails.put(keys, np.array(rows, self._thumbnails.table.dtype))

    def close(self) -> None:
        """Store what has not been stored yet."""
        for session in (self._thumbnails, self._addresses):
            if session is not None:
                session.flush()

    def _known(self, opened: Sequence[OpenedImage]) -> list[Seen | None]:
        if self._thumbnails is None or not opened:
            return [None] * len(opened)
        rows, found = self._thumbnails.read(np.frombuffer(b"".join(image.key for image in opened), KEY))
        stored = zip(rows["f0"], rows["f1"].tolist(), found.tolist(), strict=True)
        return [Seen(thumbnail, _header(text)) if is_there else None for thumbnail, text, is_there in stored]

    def _note(self, image: OpenedImage, seen: Seen) -> None:
        self.inspection.thumbnails[image.index] = seen.thumbnail
        if oddities := image.oddities(seen.header):
            self.inspection.oddities[image.index] = oddities


def inspect(images: Images, size: Size, store: Store | None, console: Console, skip: bool = True) -> Inspection:
    """Read every image once, and decode those whose thumbnails the store does not hold.

    Raises:
        ImageReadError: files cannot be read; one error names them all. Not with `skip`.
    """
    return _inspected(ImageReader(images, Resizing(size), store), console, skip, CHUNK)


def reread(images: Images, store: Store | None, console: Console, skip: bool) -> Inspection:
    """Read images that were inspected before, without decoding them; note their keys, and which cannot be read.

    The content at a URL is not read if the store knows its key.

    Raises:
        ImageReadError: as for `inspect`.
    """
    return _inspected(ImageReader(images.as_now(), Resizing((1, 1)), store, inspects=False), console, skip, 1)


def _inspected(reader: ImageReader, console: Console, skip: bool, step: int) -> Inspection:
    """What a reader finds in its images, `step` of which are read together."""
    everything = range(len(reader.images))
    parts = [everything[start : start + step] for start in everything[::step]]
    with closing(reader), console.bar("checking images", len(everything), "images") as bar:
        work = in_background(reader.open, parts, reader.threads, 2 * reader.threads)
        for opened, part in zip(work, parts, strict=True):
            reader.keep(opened)
            bar.advance(len(part))
    if not skip:
        refuse_unreadable(reader.inspection.failures)
    return reader.inspection


def _address_key(file: Remote) -> bytes:
    return content_key(f"{file.url} {file.version}".encode("utf-8", "surrogateescape"))


def _header(text: bytes) -> Header:
    """A header as `ImageReader.keep` wrote it."""
    kind, height, width, oddity, frames, orientation = text.decode().split("|")
    return Header(kind, int(height), int(width), oddity, int(frames), int(orientation))


def in_background(work: Callable[[T], R], items: Iterable[T], threads: int, ahead: int) -> Generator[R]:
    """`work` over `items` on a few threads, in order, with at most `ahead` results waiting to be taken."""
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="transferkit-decode")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
