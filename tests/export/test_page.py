"""The page of the documentation that runs an ONNX file in a browser: a real one opens it, and it answers as `predict`."""

from __future__ import annotations

import functools
import json
import os
import queue
import re
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

import transferkit as tk

RUNTIME = Path(os.environ.get("ONNXRUNTIME_WEB") or ROOT / "build" / "node_modules" / "onnxruntime-web" / "dist")
PAGE = re.compile(r"^```html\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What the test adds to the page, in the place of a person who chooses files.
CHOOSING = """
<script>
async function all(paths) {
  const found = [];
  for (const path of paths) found.push(await classify(await (await fetch(path)).blob()));
  return found;
}
all(PATHS).catch((error) => String(error)).then((found) => fetch("/found", { method: "POST", body: JSON.stringify(found) }));
</script>
"""


class Handler(SimpleHTTPRequestHandler):
    """Serves the folder of the page, and takes what it found."""

    found: queue.Queue[Any] = queue.Queue()

    def do_POST(self) -> None:
        self.found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def answers(folder: Path, browser: str) -> Any:
    """What the page in a folder says of its photos."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/page.html"
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        f"--user-data-dir={folder}/user",
    ]
    quiet = subprocess.DEVNULL
    with server, subprocess.Popen([browser, *options, address], stdout=quiet, stderr=quiet) as program:
        try:
            return Handler.found.get(timeout=240)
        finally:
            program.terminate()
            server.shutdown()


def test_the_page_answers_as_predict(assets: Path, tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx", reason="the packages of transferkit's extra onnx are not installed")
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None or not (RUNTIME / "ort.wasm.min.js").is_file():
        pytest.skip("no Chromium, or no onnxruntime-web in build/: make test-web installs the latter")
    data = assets / "data" / "cats_dogs"
    clf = tk.TransferClassifier("TransferKitTiny", input_size=224, seed=0)
    training = [path for name in ("cats", "dogs") for path in sorted((data / "train" / name).iterdir())[:60]]
    clf.fit(training, [path.parent.name for path in training], verbose=0)
    clf.export("pets.onnx", verbose=0)
    photos = [path for name in ("cats", "dogs") for path in sorted((data / "test" / name).iterdir())[:10]]
    for file in [*photos, *RUNTIME.glob("ort.wasm.min.js"), *RUNTIME.glob("ort-wasm-simd-threaded.[mw]*")]:
        shutil.copy(file, tmp_path)
    (page,) = PAGE.findall((ROOT / "docs" / "export.md").read_text(encoding="utf-8"))
    names = json.dumps([photo.name for photo in photos])
    Path("page.html").write_text(page + CHOOSING.replace("PATHS", names), encoding="utf-8")

    found, expected = answers(tmp_path, browser), clf.predict(photos, verbose=0)
    assert isinstance(found, list), found
    assert [one["label"] for one in found] == expected.labels.tolist()
    assert [one["confidence"] for one in found] == pytest.approx(expected.confidences.tolist(), abs=1e-3)
