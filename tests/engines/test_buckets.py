"""Photos on an S3 server and a web server of this machine."""

from __future__ import annotations

import functools
import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import Make
from helpers import refused

import transferkit as tk
from transferkit._common import remote

moto_server = pytest.importorskip("moto.server")
pytest.importorskip("s3fs")
pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def bucket(photos: Path) -> Iterator[str]:
    """The photos of `photos` in a bucket."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        files = pytest.importorskip("fsspec").filesystem("s3", skip_instance_cache=True)
        files.mkdir("bucket")
        files.put(str(photos), "bucket/photos", recursive=True)
        yield "s3://bucket/photos"
    server.stop()


def test_a_bucket_equals_a_folder_and_a_warm_fit_downloads_nothing(
    make: Make, photos: Path, bucket: str, downloads: list[str], computed: list[int]
) -> None:
    local = make(cache=False).fit(photos / "train", verbose=0)
    clf = make().fit(f"{bucket}/train", verbose=0)
    expected = local.predict_proba(photos / "test", verbose=0)
    assert np.array_equal(clf.predict_proba(f"{bucket}/test", verbose=0), expected)
    clf.fine_tune(at=-3, epochs=1, learning_rate=1e-3, validation=0, verbose=0)
    downloads.clear()
    computed.clear()
    make().fit(f"{bucket}/train", verbose=0)
    listed = [f"{bucket}/train/{kind}/{number:02d}.png" for kind in ("red", "lying") for number in range(12)]
    make().fit(listed, [url.split("/")[-2] for url in listed], verbose=0)  # each is asked for its version by itself
    assert (downloads, computed) == ([], [])


def test_features_by_url_are_those_of_fit_on_the_bucket(make: Make, bucket: str, downloads: list[str]) -> None:
    urls = [f"{bucket}/train/{kind}/{number:02d}.png" for kind in ("red", "lying", "standing") for number in range(12)]
    clf = make(cache="values")
    assert set(tk.FeatureBatch(clf, store="values", image="url")({"url": urls})["error"]) == {None}
    downloads.clear()
    clf.fit(f"{bucket}/train", verbose=0)
    assert downloads == []


def test_classifiers_and_values_in_a_bucket(make: Make, photos: Path, bucket: str) -> None:
    clf = make(cache="one").fit(photos / "train", verbose=0)
    clf.save("s3://bucket/pets.keras")
    again = tk.TransferClassifier.load("s3://bucket/pets.keras")
    expected = clf.predict_proba(photos / "test", verbose=0)
    assert np.array_equal(again.predict_proba(photos / "test", verbose=0), expected)
    size = tk.cache.push("s3://bucket/values", "one")
    assert tk.cache.pull("s3://bucket/values", "two") == size > 0
    with refused(tk.InvalidInputError, "There is nothing at 's3://bucket/gone'"):
        clf.fit("s3://bucket/gone")
    with refused(tk.InvalidInputError, "'s3://nobody/photos'"):
        clf.fit("s3://nobody/photos")
    with refused(tk.BundleError, "There is no file 's3://bucket/gone.keras'"):
        tk.TransferClassifier.load("s3://bucket/gone.keras")


@pytest.fixture
def web(photos: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(photos))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://me:secret@127.0.0.1:{server.server_port}"
        server.shutdown()


def test_photos_on_a_web_server(loaded: tk.TransferClassifier, photos: Path, web: str) -> None:
    found = loaded.predict([f"{web}/new/red.png?signature=secret"], verbose=0)
    assert np.array_equal(found.probabilities, loaded.predict(photos / "new" / "red.png", verbose=0).probabilities)
    assert "secret" not in str(found)
    assert loaded.predict(f"{web}/new/red.png", verbose=0).labels.tolist() == ["red"]
    with pytest.raises(tk.ImageReadError, match=r"there is no such file") as caught:
        loaded.predict([f"{web}/new/gone.png?signature=secret"], verbose=0)
    assert "secret" not in str(caught.value)
    with refused(tk.InvalidInputError, "web servers have no folders"):
        loaded.fit(web)


def test_a_web_server_that_refuses_for_a_moment_is_asked_again(
    loaded: tk.TransferClassifier, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.01))
    content, asked = (photos / "new" / "red.png").read_bytes(), Counter[str]()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked[self.path] += 1
            code, _, refusals = self.path[1:].partition("/")
            good = asked[self.path] > int(refusals.partition("/")[0])
            self.send_response(200 if good else int(code))
            self.send_header("Content-Length", str(len(content) if good else 0))
            self.end_headers()
            if good and self.command == "GET":
                self.wfile.write(content)

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        start = f"http://127.0.0.1:{server.server_port}"
        urls = [f"{start}/{path}/a.png" for path in ("503/2", "429/3", "503/99", "403/99", "404/99", "400/99")]
        found = loaded.predict(urls, on_bad_image="skip", verbose=0)
        server.shutdown()
    assert found.labels.tolist() == ["red", "red"]
    assert list(found.skipped) == urls[2:]
    busy, forbidden, gone, refusing = found.skipped.values()
    assert busy == "ClientResponseError: 503 Service Unavailable"
    assert forbidden == "no permission to read it: 403 Forbidden"
    assert gone == "there is no such file"
    assert refusing == "the server refuses the request: 400 Bad Request"
    assert {asked[f"/{code}/99/a.png"] for code in (400, 403, 404)} == {2}  # HEAD and GET; asking again changes nothing
