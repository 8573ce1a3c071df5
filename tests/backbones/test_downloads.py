"""Weights over a network that stalls, cuts and redirects: either the right file arrives, or none.

Against a server on this machine: through `fit` and `download_weights`, or where a fit would show no more, through what
`fit` does first.
"""

from __future__ import annotations

import hashlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import refused
from networks import TINY

import transferkit as tk
from transferkit._common import files as places
from transferkit._common.console import Console
from transferkit.backbones import downloads
from transferkit.backbones.weights import check_weights, find_weights

NAME = "tiny.weights.h5"
HTML = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("served") / NAME
    TINY.build((32, 32)).save_weights(path)
    return path.read_bytes()


class Server:
    """Answers each request as `answers` says, the last answer again and again; lists the paths asked for."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests.append(self.path)
                (server.answers[0] if len(server.answers) == 1 else server.answers.pop(0))(self)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.http.server_port}"
        self.url = f"http://{self.host}/folder/{NAME}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(content: bytes) -> Iterator[Server]:
    """One that sends the right file, unless a test says otherwise."""
    made = Server()
    made.answers = [sends(content)]
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of Keras's cache, empty; time limits suit a server next door."""
    for variable in ("http_proxy", "https_proxy", "all_proxy", "transferkit_weights"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "KERAS", ("http://", "https://"))
    monkeypatch.setattr(downloads, "READ", 0.25)
    monkeypatch.setattr(downloads, "RETRIES", 1)
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda _: None))  # between two tries
    return tmp_path / "keras" / "models"


def record(url: str, digest: str = "", name: str = "Far", **changes: object) -> tk.Backbone:
    """A registered backbone whose weights are at `url`."""
    return tk.register_backbone(replace(TINY, name=name, pretrained=tk.WeightsFile(url, digest), **changes))


def fit(name: str = "Far") -> tk.TransferClassifier:
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    return tk.TransferClassifier(name, seed=0).fit(images, list("abababab"), epochs=1, verbose=0)


def load(name: str = "Far") -> Path:
    """What `fit` does first, and all of it that these tests look at: it finds the file, or fetches it."""
    record = tk.get_backbone(name)
    found = find_weights(record, check_weights(record, "pretrained", (32, 32)), Console(0))
    assert isinstance(found, Path)
    return found


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def flipped(data: bytes) -> bytes:
    return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


def sends(data: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        given = {key.replace("_", "-"): value for key, value in headers.items()}
        for key, value in {"Content-Length": str(len(data)), **given}.items():
            request.send_header(key, value)
        request.end_headers()
        request.wfile.write(data)

    return answer


def cuts(data: bytes, after: int) -> Answer:
    return sends(data[:after], Content_Length=str(len(data)))


def put(folder: Path, data: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NAME).write_bytes(data)
    return folder / NAME


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


# ---- the file arrives ----


@pytest.mark.parametrize("known", [True, False])
def test_a_download_fills_the_backbone_and_is_kept(server, content, cache, known):
    backbone = record(server.url, sha256(content) if known else "")
    networks = [fit().network_, fit().network_]
    assert len(server.requests) == 1
    assert files_in(cache) == ({NAME} if known else {NAME, f"{NAME}.sha256"})
    assert (cache / NAME).read_bytes() == content
    assert [folder.stat().st_mode & 0o777 for folder in (cache.parent, cache)] == [0o700, 0o700]
    own = backbone.build((32, 32))
    own.load_weights(cache / NAME)
    pixels = backbone.preprocess_input(np.random.default_rng(1).uniform(0, 255, (2, 32, 32, 3)))
    for network in networks:
        assert np.array_equal(network.get_layer(own.name)(pixels, training=False), own(pixels, training=False))


def test_files_of_one_name_at_two_addresses_are_kept_apart(server, cache, monkeypatch):
    monkeypatch.setattr(places, "KERAS", ())
    record(server.url)
    record(server.url.replace("folder", "elsewhere"), name="Other")
    for name in ("Far", "Other", "Far", "Other"):
        load(name)
    assert server.requests == [f"/folder/{NAME}", f"/elsewhere/{NAME}"]
    assert not cache.exists()
    with refused(tk.InvalidInputError, "have the same name", repr(NAME), "two folders"):
        tk.download_weights(["Far", "Other"], to="to")


@pytest.mark.parametrize("first", ["busy", "cut", "redirect"])
def test_the_second_answer_may_be_the_right_one(server, content, cache, first):
    firsts = {"busy": sends(b"", 503), "cut": cuts(content, 9000), "redirect": sends(b"", 302, Location="/elsewhere")}
    server.answers = [firsts[first], sends(content)]
    record(server.url, sha256(content))
    load()
    assert (cache / NAME).read_bytes() == content
    assert files_in(cache) == {NAME}


def test_a_proxy_is_asked_and_one_that_makes_no_sense_is_named(server, monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    record(f"http://nowhere.invalid/{NAME}")
    monkeypatch.setenv("http_proxy", "http://h:abc")
    with pytest.raises(tk.WeightsError, match=r"\(Failed to parse: 'h:abc'"):
        fit()
    monkeypatch.setenv("http_proxy", server.host)  # without a scheme
    load()
    assert server.requests == [f"http://nowhere.invalid/{NAME}"]


# ---- it does not ----


def stalls(request: BaseHTTPRequestHandler) -> None:
    sends(b"", Content_Length="100000")(request)
    request.wfile.flush()
    time.sleep(0.8)


def never_ends(request: BaseHTTPRequestHandler) -> None:
    sends(downloads.HDF5, Content_Length="999999999")(request)
    for _ in range(200):
        request.wfile.write(bytes(2**20))


# Kind of fault -> what makes the answer from the right content, a part of the error, how many requests it takes.
FAULTS: dict[str, tuple[Callable[[bytes], Answer], str, int]] = {
    "a stall": (lambda _: stalls, "the server sent no data for", 2),
    "a stall before the answer": (lambda _: lambda request: time.sleep(0.8), "the server sent no data for", 2),
    "a cut": (lambda data: cuts(data, 9000), "9000 bytes read", 2),
    "a cut at once": (lambda _: lambda request: request.connection.close(), "Connection aborted", 2),
    "wrong bytes": (lambda data: sends(flipped(data)), "SHA256 hash of downloaded file .* does not match", 2),
    "a login page": (lambda _: sends(HTML, Content_Type="text/html; charset=utf-8"), "perhaps the login page", 1),
    "no such file": (lambda _: sends(HTML, 404, Content_Type="text/html"), "the server answered 404 Not Found", 1),
    "a server that fails": (lambda _: sends(b"", 500), "the server answered 500", 2),
    "a body that never ends": (lambda _: never_ends, "more than the expected maximum of .* bytes", 1),
    "a redirect to a file": (lambda _: sends(b"", 302, Location="file:///etc/hosts"), "No connection adapters", 1),
    "a redirect loop": (lambda _: sends(b"", 302, Location=NAME), "Exceeded 30 redirects", 31),
}


@pytest.mark.thorough
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_server_leaves_an_error_and_nothing_else(server, content, cache, fault, monkeypatch):
    make, reason, requests = FAULTS[fault]
    server.answers = [make(content)]
    monkeypatch.setattr(downloads, "MOST", 2**24)
    record(server.url.replace("//", "//user:secret@") + "?token=hidden", sha256(content))
    with pytest.raises(tk.WeightsError, match=reason) as caught:
        fit()
    for part in ("'Far'", server.url, repr(NAME), repr(str(cache)), "TRANSFERKIT_WEIGHTS", "weights=PATH"):
        assert part in str(caught.value)
    assert not {"secret", "hidden"} & set(str(caught.value).replace("=", " ").replace("@", " ").split())
    assert len(server.requests) == requests
    assert files_in(cache) == set()
    server.answers = [sends(content)]
    load()
    assert files_in(cache) == {NAME}


def test_a_redirect_from_https_to_http_is_refused():
    first, last = (SimpleNamespace(url=f"{scheme}://a/x", status_code=200, headers={}) for scheme in ("https", "http"))
    last.history = [first]
    with pytest.raises(downloads.DownloadError, match="from https to http"):
        downloads._check_answer(last)


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda data: data[: len(data) // 2], "is a damaged HDF5 file"),
        (lambda data: downloads.HDF5 + bytes(4000), "is a damaged HDF5 file"),
        (lambda data: HTML, "is not an HDF5 file"),
        (lambda data: data, "holds .* numbers where 5,000,000 are expected"),
    ],
)
def test_without_a_known_hash_a_wrong_file_is_found_by_its_form(server, content, cache, damage, fault):
    server.answers = [sends(damage(content))]
    record(server.url, parameters=5_000_000)
    with pytest.raises(tk.WeightsError, match=f"the file that arrived {fault}"):
        fit()
    assert files_in(cache) == set()


@pytest.mark.thorough
def test_a_failed_download_leaves_the_classifier_as_it_was(server, content, cache):
    server.answers = [sends(content), sends(b"", 404)]
    record(server.url)
    clf = fit()
    before = clf.network_
    (cache / NAME).unlink()
    with pytest.raises(tk.WeightsError):
        clf.fit(np.zeros((4, 32, 32, 3), np.uint8), list("cdcd"), verbose=0)
    assert clf.network_ is before
    assert list(clf.classes_) == ["a", "b"]


# ---- offline ----


def offline(url: str) -> str:
    record(url)
    with pytest.raises(tk.WeightsError, match="no connection to") as caught:
        fit()
    return str(caught.value)


def test_offline_the_error_names_all_that_helps(cache):
    message = offline(f"https://user:secret@nowhere.invalid/{NAME}?token=hidden")
    for part in (f"https://nowhere.invalid/{NAME} ", repr(NAME), repr(str(cache)), "TRANSFERKIT_WEIGHTS"):
        assert part in message


def test_a_port_where_nobody_listens():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert "no connection to 127.0.0.1: Connection refused" in offline(f"http://127.0.0.1:{port}/{NAME}")


def test_all_addresses_of_a_host_share_one_time_limit(monkeypatch):
    limits = []

    def never(address: object, timeout: float) -> None:
        limits.append(timeout)
        raise TimeoutError("timed out")

    infos = [(family, 0, 0, "", (str(number), 80)) for family in (10, 2) for number in range(8)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos)
    monkeypatch.setattr(socket, "create_connection", never)
    assert "no connection to far.invalid: timed out" in offline(f"http://far.invalid/{NAME}")
    assert sum(limits) <= 4


# ---- files that are there already ----


def test_a_file_in_the_cache_of_keras_is_used(content, cache):
    put(cache, content)
    record(f"https://nowhere.invalid/{NAME}", sha256(content))
    assert load() == cache / NAME


def test_a_damaged_file_in_the_cache_is_set_aside_and_fetched_again(server, content, cache):
    put(cache, flipped(content))
    record(server.url, sha256(content))
    load()
    assert files_in(cache) == {NAME, f"{NAME}.damaged-1"}
    assert (cache / NAME).read_bytes() == content
    assert (cache / f"{NAME}.damaged-1").read_bytes() == flipped(content)


def test_later_damage_is_seen_where_no_hash_is_known(server, content, cache):
    record(server.url)
    load()
    put(cache, flipped(content))
    load()
    assert len(server.requests) == 2
    assert (cache / NAME).read_bytes() == content
    assert files_in(cache) == {NAME, f"{NAME}.sha256", f"{NAME}.damaged-1"}


@pytest.mark.parametrize("host", ["h:99999", "h:abc", "a..b"])
def test_an_address_that_no_server_can_have_is_an_error_of_the_download(host):
    record(f"http://{host}/{NAME}")
    with pytest.raises(tk.WeightsError, match=f"could not be downloaded from http://{host}/"):
        fit()


def test_a_damaged_file_is_not_used_even_offline(content, cache):
    put(cache, content[:9000])
    offline(f"https://nowhere.invalid/{NAME}")
    assert files_in(cache) == {f"{NAME}.damaged-1"}


@pytest.mark.parametrize("opened", ["models", "keras"])
def test_a_file_that_others_could_have_put_there_needs_a_known_hash(server, content, cache, tmp_path, opened):
    put(cache, content)
    (cache if opened == "models" else cache.parent).chmod(0o777)
    record(server.url, sha256(content), name="Known")
    load("Known")
    assert server.requests == []
    record(server.url)
    load()
    assert len(server.requests) == 1
    assert next((tmp_path / "cache" / "transferkit" / "weights").glob(f"*/{NAME}")).read_bytes() == content


def test_the_named_folder_comes_first_and_is_left_alone(content, tmp_path, monkeypatch):
    monkeypatch.setenv("TRANSFERKIT_WEIGHTS", str(tmp_path / "own"))
    record(f"https://nowhere.invalid/{NAME}")
    with refused(tk.WeightsError, "TRANSFERKIT_WEIGHTS=", "own", "Make the folder"):
        fit()
    put(tmp_path / "own", content)
    assert load() == tmp_path / "own" / NAME
    put(tmp_path / "own", content[:9000])
    with refused(tk.WeightsError, str(tmp_path / "own" / NAME), "damaged", "nowhere.invalid", "weights=PATH"):
        fit()
    assert files_in(tmp_path / "own") == {NAME}


# ---- download_weights ----

SCRIPT = """
import sys, transferkit as tk
file = tk.WeightsFile(sys.argv[1], sys.argv[3])
tk.register_backbone(tk.Backbone("Far", "keras.applications:VGG16", "none", pretrained=file))
tk.download_weights("Far", sys.argv[2])
assert "tensorflow" not in sys.modules
"""


@pytest.mark.thorough
@pytest.mark.parametrize("known", [True, False])
def test_two_processes_that_want_one_file_both_get_it(server, content, tmp_path, known):
    def slowly(request: BaseHTTPRequestHandler) -> None:
        sends(content[:8192], Content_Length=str(len(content)))(request)
        time.sleep(0.3)
        request.wfile.write(content[8192:])

    server.answers = [slowly]
    arguments = server.url, str(tmp_path / "to"), sha256(content) if known else ""
    processes = [subprocess.Popen([sys.executable, "-W", "error", "-c", SCRIPT, *arguments]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert (tmp_path / "to" / NAME).read_bytes() == content
    assert files_in(tmp_path / "to") == ({NAME} if known else {NAME, f"{NAME}.sha256"})


def test_download_weights_fills_a_folder_for_another_machine(server, content, tmp_path, monkeypatch, capfd):
    record(server.url)
    folder = tmp_path / "a" / "b"
    assert tk.download_weights(["Far"], to=folder) == [folder / NAME]
    size = f"{len(content) / 1e6:.1f} MB"
    assert tuple(capfd.readouterr()) == (f"Downloading the weights of 'Far' ({size}) from {server.url}\n", "")
    assert (folder / NAME).stat().st_mode & 0o777 == 0o644
    tk.download_weights("far", to=folder, verbose=0)
    assert len(server.requests) == 1
    assert files_in(folder) == {NAME, f"{NAME}.sha256"}
    monkeypatch.setenv("TRANSFERKIT_WEIGHTS", str(folder))
    assert load() == folder / NAME


def test_download_weights_copies_what_the_cache_holds(content, cache, tmp_path):
    put(cache, content)
    record(f"https://nowhere.invalid/{NAME}")
    tk.download_weights("Far", to=tmp_path / "to", verbose=0)
    assert files_in(tmp_path / "to") == {NAME, f"{NAME}.sha256"}


def test_download_weights_copies_what_the_named_folder_holds(content, tmp_path, monkeypatch):
    put(tmp_path / "from", content)
    monkeypatch.setenv("TRANSFERKIT_WEIGHTS", str(tmp_path / "from"))
    record(f"https://nowhere.invalid/{NAME}")
    assert tk.download_weights("Far", to=tmp_path / "to", verbose=0)[0].read_bytes() == content


def test_download_weights_does_not_touch_a_wrong_file_in_the_folder(tmp_path):
    put(tmp_path, b"mine")
    record(f"https://nowhere.invalid/{NAME}")
    with refused(tk.WeightsError, str(tmp_path / NAME), "is not an HDF5 file", "intact copy"):
        tk.download_weights("Far", to=tmp_path)
    assert (tmp_path / NAME).read_bytes() == b"mine"


def test_download_weights_checks_all_arguments_first(server, tmp_path):
    record(server.url)
    with pytest.raises(tk.UnknownBackboneError):
        tk.download_weights(["Far", "Nowhere"], to="to")
    with refused(tk.WeightsError, "'TinyNet'", "its record has no URL"):
        tk.download_weights(["Far", TINY], to="to")
    for names in ([], 3):
        with refused(tk.InvalidInputError, f"`names={names}`", "must name one backbone or more"):
            tk.download_weights(names, to="to")
    (tmp_path / "file").touch()
    for to, rule in (
        ("", "path of a folder"),
        (None, "path of a folder"),
        ("a\0b", "cannot be"),
        ("file", "cannot be"),
    ):
        with refused(tk.InvalidInputError, f"`to={to!r}`", rule):
            tk.download_weights("Far", to=to)
    assert server.requests == []
    assert files_in(tmp_path) == {"file"}


def test_download_weights_takes_the_file_for_a_size(tmp_path):
    with pytest.raises(tk.WeightsError, match=r"_1\.0_160_no_top\.h5"):
        tk.download_weights("MobileNetV2", to=tmp_path, input_size=160, verbose=0)


def test_a_tilde_is_the_home_folder(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (found,) = tk.download_weights(record(server.url), to="~/weights", verbose=0)
    assert found == tmp_path / "home" / "weights" / NAME
    assert not (tmp_path / "~").exists()
