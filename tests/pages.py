"""Pages that the library writes: their tags and pictures, and what a browser makes of them."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# It says in the console what it is told to, and gives the result of an expression, after all is loaded.
PROBE = """<script>addEventListener("load", () => {{
  console.error("the console is heard");
  document.documentElement.dataset.result = JSON.stringify({expression});
}})</script>"""


class Page(HTMLParser):
    """The tags of a page, its text, and what lies under each heading."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.figures: list[tuple[list[Image.Image], str]] = []  # pictures and the caption below them
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "figure":
            self.figures.append(([], ""))
        if tag == "img":
            kind, _, data = (attributes["src"] or "").partition(";base64,")
            assert kind == "data:image/jpeg"
            self.figures[-1][0].append(Image.open(io.BytesIO(base64.b64decode(data))))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.figures:
            pictures, caption = self.figures[-1]
            self.figures[-1] = pictures, caption + data

    def pictures_of(self, name: str) -> list[Image.Image]:
        """What is shown for a fault of this image."""
        (pictures,) = (pictures for pictures, caption in self.figures if caption.startswith(name))
        return pictures


def in_chromium(page: Path, expression: str) -> tuple[Any, list[str]]:
    """The value of a JavaScript expression in a page opened from the disk, and what the console says of the page."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: install the package chromium")
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text(encoding="utf-8") + PROBE.format(expression=expression), encoding="utf-8")
    options = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    logs = ["--enable-logging=stderr", "--virtual-time-budget=5000", f"--user-data-dir={page.parent / 'profile'}"]
    command = [CHROMIUM, *options.split(), *logs, "--dump-dom", probed.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    console = re.findall(r'CONSOLE.*?\] "(.*)", source', done.stderr)
    assert console.pop() == "the console is heard", done.stderr[-2000:]
    (found,) = re.findall(r'data-result="(.*?)"', done.stdout)
    return json.loads(html.unescape(found)), console
