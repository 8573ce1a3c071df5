"""Weights over a network that stalls, cuts, lies and redirects: either the right file arrives, or none.

All of it through the public functions, against a server on this machine.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY
from helpers import refused

import transferkit as tk
from transferkit import backbones, downloads, places, transfers, weights

NAME = "tiny.weights.h5"
HTML = b"<!DOCTYPE html><html><body>Please sign in</body></html>"


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("served") / NAME
    TINY.build((32, 32)).save_weights(path)
    return path.read_bytes()


class Server:
    """Answers each request as `answers` says, the last answer for ever; counts the requests."""

    def __init__(self) -> None:
        self.answers: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.requests: list[str] = []
        self.stopped = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(self.headers.get("Range", ""))
                answer = server.answers[0] if len(server.answers) == 1 else server.answers.pop(0)
                answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/folder/{NAME}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stopped.set()
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing in its caches, and time limits that suit a server next door."""
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    monkeypatch.delenv("TRANSFERKIT_WEIGHTS", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(backbones, "_registry", dict(backbones._registry))
    monkeypatch.setattr(places, "KERAS", ("http://", "https://"))  # so the flat folder of Keras is used
    monkeypatch.setattr(transfers, "STALL", 0.5)
    monkeypatch.setattr(transfers, "PAUSE", 0.01)
    return tmp_path


def record(url: str, digest: str = "", **changes: object) -> tk.Backbone:
    """A registered backbone whose weights are at `url`."""
    files = tk.WeightsFile(url, digest)
    return tk.register_backbone(replace(TINY, name="Far", pretrained=files, parameters=0, **changes))


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def sends(data: bytes, status: int = 200, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        for key, value in {"Content-Length": str(len(data)), **given}.items():
            request.send_header(key, value)
        request.end_headers()
        request.wfile.write(data)

    return answer


def resumes(data: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Honours the Range header, as any server of files does."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        span = f"bytes {start}-{len(data) - 1}/{len(data)}"
        sends(data[start:], 206, Content_Range=span)(request)

    return answer


def cuts(data: bytes, after: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda request: sends(data[:after], Content_Length=str(len(data)), **headers)(request)


def folder_of(home: Path) -> Path:
    return home / "keras" / "models"


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def fit(**arguments: object) -> tk.TransferClassifier:
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    return tk.TransferClassifier("Far", seed=0, **arguments).fit(images, list("abababab"), epochs=1, verbose=0)


# ---- the file arrives ----


@pytest.mark.parametrize("known", [True, False])
def test_a_download_fills_the_backbone_and_is_kept(server: Server, content: bytes, home: Path, known: bool) -> None:
    server.answers = [sends(content)]
    backbone = record(server.url, sha256(content) if known else "")
    first = fit()
    second = fit()
    assert len(server.requests) == 1
    assert files_in(folder_of(home)) == ({NAME} if known else {NAME, f"{NAME}.sha256"})
    assert (folder_of(home) / NAME).read_bytes() == content
    own = backbone.build((32, 32))
    own.load_weights(folder_of(home) / NAME)
    images = np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    expected = own(backbone.preprocess_input(images), training=False)
    for clf in (first, second):
        inner = clf.network_.get_layer(own.name)
        assert np.array_equal(inner(backbone.preprocess_input(images), training=False), expected)


def test_the_cache_is_made_for_its_user_alone(server: Server, content: bytes, home: Path) -> None:
    server.answers = [sends(content)]
    record(server.url)
    fit()
    for folder in (home / "keras", folder_of(home)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_cut_download_goes_on_where_it_stopped(server: Server, content: bytes, home: Path) -> None:
    server.answers = [cuts(content, 9000, ETag='"v1"'), resumes(content)]
    record(server.url, sha256(content))
    fit()
    assert server.requests == ["", "bytes=9000-"]
    assert (folder_of(home) / NAME).read_bytes() == content


def test_a_server_that_cannot_go_on_starts_over(server: Server, content: bytes, home: Path) -> None:
    server.answers = [cuts(content, 9000), sends(content)]
    record(server.url, sha256(content))
    fit()
    assert (folder_of(home) / NAME).read_bytes() == content


def test_a_wrong_part_is_not_glued_on(server: Server, content: bytes, home: Path) -> None:
    wrong = sends(content[100:], 206, Content_Range=f"bytes 100-{len(content) - 1}/{len(content)}")
    server.answers = [cuts(content, 9000), wrong, sends(content)]
    record(server.url, sha256(content))
    fit()
    assert (folder_of(home) / NAME).read_bytes() == content


@pytest.mark.parametrize("tag", ['"v2"', ""])
def test_another_version_is_not_glued_on(server: Server, content: bytes, home: Path, tag: str) -> None:
    """A server that knows If-Range sends all of a file that has changed; without a tag there is nothing to ask for."""
    other = content[:5000] + bytes(len(content) - 5000)

    def answer(request: BaseHTTPRequestHandler) -> None:
        same = request.headers.get("If-Range") == '"v1"'
        (resumes(other) if same else sends(content))(request)

    server.answers = [cuts(other, 9000, ETag=tag) if tag else cuts(other, 9000), answer]
    record(server.url)
    fit()
    assert (folder_of(home) / NAME).read_bytes() == content
    assert server.requests[-1] == ("bytes=9000-" if tag else "")


def test_a_part_of_a_file_of_another_length_is_not_glued_on(server: Server, content: bytes, home: Path) -> None:
    longer = sends(content[9000:], 206, Content_Range=f"bytes 9000-{len(content) + 99}/{len(content) + 100}")
    server.answers = [cuts(content, 9000, ETag='"v1"'), longer, sends(content)]
    record(server.url)
    fit()
    assert (folder_of(home) / NAME).read_bytes() == content


def test_files_of_one_name_at_two_addresses_are_kept_apart(
    server: Server, content: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "KERAS", ())
    other = flipped(content)
    server.answers = [sends(content), sends(other), sends(b"", 404)]
    first = record(server.url)
    second = tk.register_backbone(replace(first, name="Other", pretrained=server.url.replace("folder", "elsewhere")))
    for _ in range(2):
        for backbone, expected in ((first, content), (second, other)):
            assert weights.find_weights(backbone, backbone.pretrained[0], 0).read_bytes() == expected
    assert len(server.requests) == 2
    assert not folder_of(home).exists()
    with refused(tk.InvalidInputError, "have one name", repr(NAME), "two folders"):
        tk.download_weights(["Far", "Other"], to=home / "to")


def test_a_busy_server_is_asked_again(server: Server, content: bytes, home: Path) -> None:
    server.answers = [sends(b"", 503), sends(content)]
    record(server.url, sha256(content))
    fit()
    assert files_in(folder_of(home)) == {NAME}


def test_a_redirect_is_followed(server: Server, content: bytes, home: Path) -> None:
    server.answers = [sends(b"", 302, Location="/elsewhere"), sends(content)]
    record(server.url, sha256(content))
    fit()
    assert files_in(folder_of(home)) == {NAME}


# ---- it does not ----


def stalls(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    request.wfile.flush()
    time.sleep(3)


def trickles(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.send_header("Content-Length", "100000")
    request.end_headers()
    for byte in transfers.HDF5 * 10:
        request.wfile.write(bytes([byte]))
        time.sleep(0.05)


def in_circles(request: BaseHTTPRequestHandler) -> None:
    sends(b"", 302, Location=request.path)(request)


def says_nothing(request: BaseHTTPRequestHandler) -> None:
    time.sleep(3)


def drips_a_header(request: BaseHTTPRequestHandler) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 60:
        request.wfile.write(bytes([byte]))
        time.sleep(0.05)


def never_ends(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    request.wfile.write(transfers.HDF5)
    for _ in range(200):
        request.wfile.write(bytes(2**20))


def goes_elsewhere(request: BaseHTTPRequestHandler) -> None:
    sends(b"", 302, Location="file:///etc/hostname")(request)


def flipped(data: bytes) -> bytes:
    return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


FAULTS = {
    "a stall": (lambda _: stalls, "the server sent nothing for"),
    "a stall before the answer": (lambda _: says_nothing, "the server sent nothing for"),
    "a trickle": (lambda _: trickles, r"the server sent \d+ bytes in"),
    "a cut": (lambda data: cuts(data, 9000), "the connection"),
    "a cut at once": (lambda data: cuts(data, 0), "the connection"),
    "wrong bytes": (lambda data: sends(flipped(data)), "what the server sent has the sha256 hash"),
    "another file": (lambda _: sends(b"PK\x03\x04" + bytes(5000)), "the answer is no HDF5 file"),
    "a login page": (lambda _: sends(HTML, Content_Type="text/html; charset=utf-8"), "perhaps the login page"),
    "a login page that does not say so": (lambda _: sends(HTML), "the answer is no HDF5 file"),
    "no such file": (lambda _: sends(b"", 404), "the server answered 404 Not Found"),
    "a server that fails": (lambda _: sends(b"", 500), "the server answered 500"),
    "a header that drips in": (lambda _: drips_a_header, "the server sent nothing for"),
    "a body that never ends": (lambda _: never_ends, "more than the .* bytes that are expected at most"),
    "a length that cannot be": (lambda data: sends(data, Content_Length="9" * 14), "where at most .* are expected"),
    "a redirect to a file": (lambda _: goes_elsewhere, "an address that cannot be trusted"),
    "a redirect to nonsense": (lambda _: sends(b"", 302, Location="http://[::1/x"), "makes no sense|cannot be trusted"),
    "a redirect loop": (lambda _: in_circles, "around in circles"),
    "an empty file": (lambda _: sends(b""), "what the server sent is no HDF5 file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_server_leaves_an_error_and_nothing_else(
    server: Server, content: bytes, home: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, reason = FAULTS[fault]
    server.answers = [make(content)]
    monkeypatch.setattr(downloads, "MOST", 2**24)
    record(server.url, sha256(content))
    with pytest.raises(tk.WeightsError, match=reason) as caught:
        fit()
    for part in ("'Far'", server.url, repr(NAME), repr(str(folder_of(home))), "TRANSFERKIT_WEIGHTS", "weights=PATH"):
        assert part in str(caught.value)
    assert files_in(folder_of(home)) == set()
    server.answers = [sends(content)]
    fit()
    assert files_in(folder_of(home)) == {NAME}


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: transfers.HDF5 + bytes(4000)])
def test_without_a_known_hash_a_damaged_file_is_found_by_its_form(
    server: Server, content: bytes, home: Path, damage: Callable[[bytes], bytes]
) -> None:
    server.answers = [sends(damage(content))]
    record(server.url)
    with pytest.raises(tk.WeightsError, match="what the server sent is a damaged HDF5 file"):
        fit()
    assert files_in(folder_of(home)) == set()


def test_without_a_known_hash_a_file_of_another_network_is_found_by_its_size(server: Server, content: bytes) -> None:
    server.answers = [sends(content)]
    tk.register_backbone(replace(TINY, name="Far", pretrained=server.url, parameters=5_000_000))
    with pytest.raises(tk.WeightsError, match="numbers where 5,000,000 are expected"):
        fit()


def test_without_a_known_hash_that_of_the_server_is_checked(server: Server, content: bytes, home: Path) -> None:
    right = base64.b64encode(hashlib.md5(content).digest()).decode()
    record(server.url)
    server.answers = [sends(content, **{"x-goog-hash": f"crc32c=AAAA==,md5={base64.b64encode(bytes(16)).decode()}"})]
    with pytest.raises(tk.WeightsError, match="what the server sent has another hash than the server states"):
        fit()
    assert files_in(folder_of(home)) == set()
    server.answers = [sends(content, **{"x-goog-hash": f"crc32c=AAAA==,md5={right}"})]
    fit()
    assert NAME in files_in(folder_of(home))


def test_a_failed_download_leaves_the_classifier_as_it_was(server: Server, content: bytes, home: Path) -> None:
    server.answers = [sends(content), sends(b"", 404)]
    record(server.url)
    clf = fit()
    before = clf.network_
    (folder_of(home) / NAME).unlink()
    with pytest.raises(tk.WeightsError):
        clf.fit(np.zeros((4, 32, 32, 3), np.uint8), list("cdcd"), verbose=0)
    assert clf.network_ is before
    assert list(clf.classes_) == ["a", "b"]


# ---- offline ----


def offline(url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    record(url)
    started = time.monotonic()
    with pytest.raises(tk.WeightsError, match="no connection to") as caught:
        fit()
    assert time.monotonic() - started < 5
    return str(caught.value)


def test_offline_is_told_at_once_with_all_that_helps(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"https://nowhere.invalid/{NAME}"
    message = offline(url, monkeypatch)
    for part in (url, repr(NAME), repr(str(folder_of(home))), "TRANSFERKIT_WEIGHTS"):
        assert part in message


def test_a_port_where_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert "127.0.0.1: " in offline(f"http://127.0.0.1:{port}/{NAME}", monkeypatch)


def test_a_name_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        time.sleep(3)
        raise OSError

    monkeypatch.setattr(transfers, "create_connection", never)
    monkeypatch.setattr(transfers, "CONNECT", 1.0)
    assert "within 1 s" in offline(f"http://127.0.0.1:9/{NAME}", monkeypatch)


# ---- files that are there already ----


def test_keras_own_cache_is_used(server: Server, content: bytes, home: Path) -> None:
    folder_of(home).mkdir(parents=True)
    (folder_of(home) / NAME).write_bytes(content)
    record(server.url, sha256(content))
    fit()
    assert server.requests == []


def test_a_damaged_file_in_the_cache_is_set_aside_and_fetched_anew(server: Server, content: bytes, home: Path) -> None:
    folder_of(home).mkdir(parents=True)
    (folder_of(home) / NAME).write_bytes(flipped(content))
    server.answers = [sends(content)]
    record(server.url, sha256(content))
    fit()
    assert files_in(folder_of(home)) == {NAME, f"{NAME}.damaged-1"}
    assert (folder_of(home) / NAME).read_bytes() == content
    assert (folder_of(home) / f"{NAME}.damaged-1").read_bytes() == flipped(content)


def test_later_damage_is_seen_where_no_hash_is_known(server: Server, content: bytes, home: Path) -> None:
    server.answers = [sends(content)]
    record(server.url)
    fit()
    path = folder_of(home) / NAME
    path.write_bytes(flipped(content))
    fit()
    assert len(server.requests) == 2
    assert path.read_bytes() == content
    assert {f"{NAME}.damaged-1", f"{NAME}.damaged-1.sha256"} <= files_in(folder_of(home))


def test_a_damaged_file_is_never_used_even_offline(content: bytes, home: Path) -> None:
    folder_of(home).mkdir(parents=True)
    (folder_of(home) / NAME).write_bytes(content[:9000])
    record(f"https://nowhere.invalid/{NAME}")
    with pytest.raises(tk.WeightsError, match="no connection"):
        fit()
    assert files_in(folder_of(home)) == {f"{NAME}.damaged-1"}


def test_a_file_that_others_could_have_put_there_needs_a_known_hash(server: Server, content: bytes, home: Path) -> None:
    folder_of(home).mkdir(parents=True)
    (folder_of(home) / NAME).write_bytes(content)
    folder_of(home).chmod(0o777)
    server.answers = [sends(content)]
    record(server.url)
    fit()
    assert len(server.requests) == 1
    assert next((home / "cache" / "transferkit" / "weights").glob(f"*/{NAME}")).read_bytes() == content
    tk.register_backbone(replace(TINY, name="Known", pretrained=tk.WeightsFile(server.url, sha256(content))))
    path = weights.find_weights(tk.get_backbone("Known"), tk.get_backbone("Known").pretrained[0], 0)
    assert path == folder_of(home) / NAME


def test_a_folder_below_one_that_others_can_write_to_is_not_trusted(home: Path) -> None:
    folder = home / "open" / "own"
    folder.mkdir(parents=True)
    assert places.is_private(folder)
    folder.parent.chmod(0o777)
    assert not places.is_private(folder)


def test_the_named_folder_comes_first_and_is_left_alone(
    content: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = home / "own"
    own.mkdir()
    (own / NAME).write_bytes(content)
    own.chmod(0o555)
    monkeypatch.setenv("TRANSFERKIT_WEIGHTS", str(own))
    record(f"https://nowhere.invalid/{NAME}")
    fit()
    assert files_in(own) == {NAME}


def test_a_damaged_file_in_the_named_folder_is_refused_and_stays(
    content: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / NAME).write_bytes(flipped(content))
    monkeypatch.setenv("TRANSFERKIT_WEIGHTS", str(home))
    record(f"https://nowhere.invalid/{NAME}", sha256(content))
    with refused(tk.WeightsError, str(home / NAME), "sha256 hash", "nowhere.invalid", "weights=PATH"):
        fit()
    assert (home / NAME).read_bytes() == flipped(content)


def test_a_named_folder_that_is_none_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFERKIT_WEIGHTS", str(home / "missing"))
    record(f"https://nowhere.invalid/{NAME}")
    with refused(tk.WeightsError, "TRANSFERKIT_WEIGHTS=", "missing", "Make the folder"):
        fit()


def test_what_a_killed_process_left_is_swept_away(server: Server, content: bytes, home: Path) -> None:
    folder_of(home).mkdir(parents=True)
    old, new = (folder_of(home) / f"{downloads.PREFIX}{name}{downloads.SUFFIX}" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    server.answers = [sends(content)]
    record(server.url, sha256(content))
    fit()
    assert files_in(folder_of(home)) == {NAME, new.name}


# ---- two at once ----

SCRIPT = """
import sys, transferkit as tk
from dataclasses import replace
file = tk.WeightsFile(sys.argv[1], sys.argv[3])
tk.register_backbone(tk.Backbone("Far", "keras.applications:VGG16", "none", pretrained=file))
path, = tk.download_weights("Far", sys.argv[2])
assert "tensorflow" not in sys.modules
print(path.name)
"""


@pytest.mark.parametrize("known", [True, False])
def test_two_processes_that_want_one_file_both_get_it(server: Server, content: bytes, home: Path, known: bool) -> None:
    def slowly(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        for start in range(0, len(content), 8192):
            request.wfile.write(content[start : start + 8192])
            time.sleep(0.05)

    server.answers = [slowly]
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        SCRIPT,
        server.url,
        str(home / "to"),
        sha256(content) if known else "",
    ]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert out.strip().endswith(NAME)
    assert (home / "to" / NAME).read_bytes() == content
    assert files_in(home / "to") == ({NAME} if known else {NAME, f"{NAME}.sha256"})


# ---- download_weights ----


def test_download_weights_fills_a_folder_for_another_machine(
    server: Server, content: bytes, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers = [sends(content)]
    record(server.url)
    assert tk.download_weights(["Far"], to=home / "a" / "b") == [home / "a" / "b" / NAME]
    assert (
        f"Downloading the weights of 'Far' ({len(content) / 1e6:.1f} MB) from {server.url}" in capsys.readouterr().out
    )
    tk.download_weights("far", to=home / "a" / "b", verbose=0)
    assert len(server.requests) == 1
    server.http.shutdown()
    monkeypatch.setenv("TRANSFERKIT_WEIGHTS", str(home / "a" / "b"))
    fit()


def test_download_weights_copies_what_the_cache_holds(server: Server, content: bytes, home: Path) -> None:
    server.answers = [sends(content)]
    record(server.url)
    fit()
    tk.download_weights("Far", to=home / "to", verbose=0)
    assert len(server.requests) == 1
    assert files_in(home / "to") == {NAME, f"{NAME}.sha256"}


def test_download_weights_does_not_touch_a_wrong_file_in_the_folder(server: Server, content: bytes, home: Path) -> None:
    (home / NAME).write_bytes(b"mine")
    record(server.url)
    with refused(tk.WeightsError, str(home / NAME), "is no HDF5 file", "good copy"):
        tk.download_weights("Far", to=home)
    assert (home / NAME).read_bytes() == b"mine"


def test_download_weights_checks_all_names_first(server: Server, home: Path) -> None:
    record(server.url)
    with pytest.raises(tk.UnknownBackboneError):
        tk.download_weights(["Far", "Nowhere"], to=home / "to")
    with refused(tk.WeightsError, "'TinyNet'", "no address of a file"):
        tk.download_weights(["Far", TINY], to=home / "to")
    with refused(tk.InvalidInputError, "`names=[]`", "must name a backbone"):
        tk.download_weights([], to=home / "to")
    with refused(tk.InvalidInputError, "`names=3`", "must name a backbone"):
        tk.download_weights(3, to=home / "to")
    with refused(tk.InvalidInputError, "`to=''`", "path of a folder"):
        tk.download_weights("Far", to="")
    with refused(tk.InvalidInputError, "cannot be a folder"):
        tk.download_weights("Far", to="a\0b")
    with refused(tk.InvalidInputError, "`to=None`", "path of a folder"):
        tk.download_weights("Far", to=None)
    (home / "file").touch()
    with refused(tk.InvalidInputError, "cannot be a folder"):
        tk.download_weights("Far", to=home / "file")
    assert server.requests == []
    assert not (home / "to").exists()


def test_download_weights_takes_the_file_for_a_size(home: Path) -> None:
    with pytest.raises(tk.WeightsError, match=r"_1\.0_160_no_top\.h5"):
        tk.download_weights("MobileNetV2", to=home, input_size=160, verbose=0)


# ---- what a record may say ----


@pytest.mark.parametrize("url", ["ftp://example.org/a.h5", "example.org/a.h5", "https:///a.h5", "", None, 3])
def test_an_address_begins_with_http(url: object) -> None:
    with refused(tk.InvalidInputError, f"`url={url!r}`", "https://"):
        tk.WeightsFile(url)


@pytest.mark.parametrize("url", ["http://h:99999/x.h5", "http://h:abc/x.h5", "http://[::1/x.h5", "http://a..b/x.h5"])
def test_an_address_has_a_host_and_a_port_that_can_be(url: str) -> None:
    with refused(tk.InvalidInputError, "`url="):
        tk.WeightsFile(url)


def test_a_proxy_without_a_scheme_is_understood(
    server: Server, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = [sends(content)]
    monkeypatch.setenv("http_proxy", server.url.split("/")[2])
    monkeypatch.setenv("no_proxy", "")
    record(f"http://nowhere.invalid/{NAME}")
    fit()
    assert len(server.requests) == 1


@pytest.mark.parametrize("proxy", ["http://h:abc", "http://[::1"])
def test_a_proxy_that_makes_no_sense_is_named(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    record(f"http://nowhere.invalid/{NAME}")
    with pytest.raises(tk.WeightsError, match=r"the proxy http.* makes no sense"):
        fit()


def test_passwords_are_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    record(f"https://user:secret@nowhere.invalid/{NAME}?token=hidden")
    with pytest.raises(tk.WeightsError, match=r"from https://nowhere\.invalid/tiny") as caught:
        fit()
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_the_callers_own_error_is_not_taken_for_the_reason(server: Server) -> None:
    server.answers = [lambda request: request.connection.close()]
    record(server.url)
    try:
        {}["the key of the user"]
    except KeyError:
        with pytest.raises(tk.WeightsError) as caught:
            fit()
    assert "the key of the user" not in str(caught.value)


def test_without_a_home_other_places_are_found(monkeypatch: pytest.MonkeyPatch, server: Server, content: bytes) -> None:
    for variable in ("KERAS_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, "~nobody-of-this-name/x")
    folders = places.cache_folders(tk.WeightsFile(server.url))
    assert len(folders) == 1
    assert str(os.getuid()) in folders[0].parent.name


@pytest.mark.parametrize("digest", [None, 0, b""])
def test_a_hash_is_text(digest: object) -> None:
    with refused(tk.InvalidInputError, "`digest=", "must be text"):
        tk.WeightsFile("https://example.org/a.h5", digest)


@pytest.mark.parametrize("digest", ["abc", "md5:abc", "sha1:" + "0" * 40, "sha256:" + "g" * 64, "md5:" + "0" * 64])
def test_a_hash_is_of_a_known_kind_and_length(digest: str) -> None:
    with refused(tk.InvalidInputError, "`digest=", "64 hexadecimal digits"):
        tk.WeightsFile("https://example.org/a.h5", digest)


@pytest.mark.parametrize("name", ["../a.h5", "a/b.h5", "a.txt", "a\0.h5", 3])
def test_a_name_cannot_leave_its_folder(name: object) -> None:
    with refused(tk.InvalidInputError, "`name=", "ends in .h5"):
        tk.WeightsFile("https://example.org/a.h5", name=name)


@pytest.mark.parametrize("source", [3, [], ["a.h5"], ""])
def test_a_record_refuses_another_source(source: object) -> None:
    with refused(tk.InvalidInputError, "`pretrained=", "WeightsFile or several"):
        replace(TINY, name="Odd", pretrained=source)
