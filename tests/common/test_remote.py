"""Photos, classifiers, weights and values at URLs, in fsspec's file system in memory."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Make
from helpers import refused

import transferkit as tk
from transferkit.__main__ import main
from transferkit._common.files import values_folder
from transferkit._common.remote import located

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def _empty_memory() -> Iterator[None]:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    yield
    memory.store.clear()


@pytest.fixture
def bucket(photos: Path) -> str:
    """The photos of `photos`, at a URL."""
    for path in sorted(photos.rglob("*.png")):
        put(f"memory://bucket/{path.relative_to(photos).as_posix()}", path.read_bytes())
    return "memory://bucket"


def put(url: str, content: bytes) -> None:
    fsspec.filesystem("memory").pipe_file(url, content)


def test_fit_and_predict_at_a_url_equal_those_on_the_same_files(make: Make, photos: Path, bucket: str) -> None:
    local = make(cache=False).fit(photos / "train", verbose=0)
    remote = make(cache=False).fit(f"{bucket}/train", verbose=0)
    expected = local.predict_proba(photos / "test", verbose=0)
    assert np.array_equal(remote.predict_proba(f"{bucket}/test", verbose=0), expected)
    assert remote.evaluate(f"{bucket}/test", verbose=0).accuracy == local.evaluate(photos / "test", verbose=0).accuracy
    one = remote.predict(f"{bucket}/new/red.png", verbose=0)
    assert [p.path for p in one] == [f"{bucket}/new/red.png"]
    frame = pytest.importorskip("pandas").DataFrame({"path": [f"{bucket}/new/red.png"]})
    assert np.array_equal(remote.predict(frame, verbose=0).probabilities, one.probabilities)


def test_the_command_line_lists_a_folder_at_a_url(
    make: Make, photos: Path, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make().fit(photos / "train", verbose=0).save(tmp_path / "a.keras")
    assert main(["predict", str(tmp_path / "a.keras"), f"{bucket}/new", f"{bucket}/test/red/00.png"]) == 0
    names = ["new/lying", "new/red", "new/standing", "test/red/00"]
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == [f"{bucket}/{name}.png" for name in names]


@pytest.mark.thorough
def test_a_warm_fit_downloads_nothing(make: Make, bucket: str, downloads: list[str], computed: list[int]) -> None:
    make().fit(f"{bucket}/train", verbose=0)
    assert len(downloads) == len(set(downloads)) == sum(computed) == 36
    downloads.clear()
    computed.clear()
    clf = make().fit(f"{bucket}/train", verbose=0)
    clf.fit([f"{bucket}/train/red/00.png", f"{bucket}/train/lying/00.png"], ["red", "lying"], verbose=0)
    assert (downloads, computed) == ([], [])
    put(f"{bucket}/train/red/00.png", fsspec.filesystem("memory").cat_file(f"{bucket}/test/red/00.png"))
    make().fit(f"{bucket}/train", verbose=0)
    assert downloads == [f"{bucket}/train/red/00.png"]
    assert sum(computed) == 1


@pytest.mark.thorough
def test_fine_tune_goes_on_with_images_at_urls(make: Make, bucket: str, downloads: list[str]) -> None:
    clf = make().fit(f"{bucket}/train", verbose=0)
    downloads.clear()
    clf.fine_tune(at=-3, epochs=1, learning_rate=1e-3, validation=0, verbose=0)
    assert len(downloads) == 36  # for the values at the new cut
    put(f"{bucket}/train/red/00.png", fsspec.filesystem("memory").cat_file(f"{bucket}/test/red/00.png"))
    with refused(tk.InvalidInputError, "Images changed since fit"):
        clf.fine_tune(at=-3, epochs=1, verbose=0)


def test_other_files_at_a_url_are_reported_and_left_out(bucket: str) -> None:
    for name in ("notes.txt", "red/notes.txt", "red/.hidden.png"):
        put(f"{bucket}/train/{name}", b"-")
    report = tk.check_images(f"{bucket}/train", verbose=0)
    found = {fault.kind: fault.where for fault in report.faults if "near" not in fault.kind}
    assert found["beside the class folders"] == f"{bucket}/train/notes.txt"
    assert found["other file"] == f"{bucket}/train/red/notes.txt"
    assert found["hidden or of the system"] == f"{bucket}/train/red/.hidden.png"


def test_a_bad_file_at_a_url_is_named_and_can_be_left_out(loaded: tk.TransferClassifier, bucket: str) -> None:
    put(f"{bucket}/new/bad.png", b"")
    with refused(tk.ImageReadError, f"'{bucket}/new/bad.png'", "the file is empty"):
        loaded.predict(f"{bucket}/new", verbose=0)
    found = loaded.predict([f"{bucket}/new/red.png", f"{bucket}/gone.png"], on_bad_image="skip", verbose=0)
    assert len(found) == 1
    assert found.skipped == {f"{bucket}/gone.png": "there is no such file"}


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("memory://nothing", "There is nothing at 'memory://nothing'"),
        ("memory://bucket", "'test', 'train', which are splits"),
        ("memory://bucket/new", "holds 3 images but no folder per class"),
        ("nowhere://photos", "the scheme must be one of 's3', 'gs'"),
    ],
)
def test_a_wrong_folder_at_a_url_is_refused(make: Make, bucket: str, folder: str, words: str) -> None:
    if folder == "memory://bucket":
        for name in [name for name in fsspec.filesystem("memory").store if name.startswith("/bucket/new")]:
            fsspec.filesystem("memory").rm(name)
    with refused(tk.InvalidInputError, words):
        make().fit(folder, verbose=0)


def test_a_path_is_never_a_url(make: Make, tmp_path: Path) -> None:
    assert isinstance(located(Path("memory://bucket")), Path)
    assert isinstance(located("photos/a://b"), Path)
    assert isinstance(located("C://photos"), Path)
    with refused(tk.InvalidInputError, "does not exist", "A URL must be text, not a Path"):
        make().fit(Path("s3://bucket/photos"))


def test_without_the_extra_the_error_names_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with refused(tk.MissingExtraError, "'s3://bucket/photos'", "pip install 'transferkit[remote]'"):
        make().fit("s3://bucket/photos")
    with refused(tk.MissingExtraError, "pip install 'transferkit[remote]'"):
        tk.TransferClassifier.load("memory://pets.keras")


def test_a_missing_file_system_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with refused(tk.MissingExtraError, "'gs://bucket/photos'", "pip install gcsfs"):
        make().fit("gs://bucket/photos")


SECRET = "ftp://me:secret@127.0.0.1:1/a.jpg?signature=secret"


@pytest.mark.thorough
def test_no_message_shows_what_a_url_may_hide(loaded: tk.TransferClassifier) -> None:
    with pytest.raises(tk.ImageReadError) as caught:
        loaded.predict([SECRET], verbose=0)
    assert "ftp://127.0.0.1:1/a.jpg (image 0)" in str(caught.value)
    shown = [
        repr(tk.TransferClassifier("MobileNetV2", weights=SECRET)),
        str(caught.value),
        *caught.value.failures.values(),
    ]
    with pytest.raises(tk.InvalidInputError) as refusal:
        loaded.fit([SECRET, 3], ["a", "b"])
    with pytest.raises(tk.BundleError) as unloaded:
        tk.TransferClassifier.load(SECRET)
    assert unloaded.value.__suppress_context__
    assert "secret" not in "".join([*shown, str(refusal.value), str(unloaded.value)])


def test_save_and_load_at_a_url(loaded: tk.TransferClassifier, photos: Path) -> None:
    loaded.save("memory://models/pets.keras")
    again = tk.TransferClassifier.load("memory://models/pets.keras")
    expected = loaded.predict_proba(photos / "test", verbose=0)
    assert np.array_equal(again.predict_proba(photos / "test", verbose=0), expected)
    with refused(tk.InvalidInputError, "Pass 'memory://models/pets.keras'"):
        loaded.save("memory://models/pets.h5")
    with refused(tk.BundleError, "There is no file 'memory://models/gone.keras'"):
        tk.TransferClassifier.load("memory://models/gone.keras")
    put("memory://models/bad.keras", b"PK")
    with refused(tk.BundleError, "'memory://models/bad.keras' cannot be read as a classifier"):
        tk.TransferClassifier.load("memory://models/bad.keras")


def test_a_folder_that_must_be_on_this_machine_is_no_url(make: Make, pictures: Any) -> None:
    url = "memory://bucket/folder"
    calls: dict[str, Callable[[], object]] = {
        "cache": lambda: make(cache=url).fit(*pictures, verbose=0),
        "resume": lambda: make().fit(*pictures, resume=url, verbose=0),
        "to": lambda: tk.download_weights("MobileNetV2", to=url),
    }
    for name, call in calls.items():
        with refused(tk.InvalidInputError, f"`{name}='{url}'` is a URL", "on this machine"):
            call()
    assert list(Path().iterdir()) == []


def test_a_page_is_written_to_a_url(loaded: tk.TransferClassifier, photos: Path) -> None:
    evaluation = loaded.evaluate(photos / "test", verbose=0)
    evaluation.html("memory://pages/evaluation.html")
    evaluation.html("evaluation.html")
    page = fsspec.filesystem("memory").cat_file("memory://pages/evaluation.html")
    assert page == Path("evaluation.html").read_bytes()
    with refused(tk.InvalidInputError, "scheme 'nowhere'"):
        evaluation.html("nowhere://pages/evaluation.html")


@pytest.mark.thorough
def test_weights_at_a_url_are_downloaded_once(make: Make, photos: Path, downloads: list[str], tmp_path: Path) -> None:
    tk.get_backbone("TinyNet").build((32, 32)).save_weights(tmp_path / "w.weights.h5")
    put("memory://weights/w.weights.h5", (tmp_path / "w.weights.h5").read_bytes())
    local = make(weights=tmp_path / "w.weights.h5").fit(photos / "train", verbose=0)
    for _ in range(2):
        remote = make(weights="memory://weights/w.weights.h5").fit(photos / "train", verbose=0)
    assert downloads == ["memory://weights/w.weights.h5"]
    expected = local.predict_proba(photos / "new", verbose=0)
    assert np.array_equal(remote.predict_proba(photos / "new", verbose=0), expected)
    (kept,) = (path for path in values_folder().parent.rglob("w.weights.h5"))
    kept.write_bytes(kept.read_bytes()[:-100])
    remote = make(weights="memory://weights/w.weights.h5").fit(photos / "train", verbose=0)
    assert np.array_equal(remote.predict_proba(photos / "new", verbose=0), expected)
    with refused(tk.WeightsError, "'memory://weights/gone.weights.h5'", "there is no such file"):
        make(weights="memory://weights/gone.weights.h5").fit(photos / "train", verbose=0)


def test_an_upload_that_was_cut_off_is_repeated(make: Make, photos: Path, tmp_path: Path) -> None:
    make(cache="one").fit(photos / "train", verbose=0)
    url = (tmp_path / "new" / "values").as_uri()
    assert tk.cache.push(url, "one") > 0
    rows = next((tmp_path / "new").rglob("*.rows.npy"))
    whole = rows.read_bytes()
    rows.write_bytes(whole[:100])
    assert tk.cache.push(url, "one") > 0
    assert rows.read_bytes() == whole


@pytest.mark.thorough
def test_values_that_are_at_the_url_make_no_room_for_others_there(make: Make, photos: Path) -> None:
    url = "memory://three"
    for number, cache in enumerate(("one", "two", "other")):
        make(cache=cache, seed=number).fit(photos / "train", verbose=0)
    tk.cache.push(url, "one")
    tk.cache.pull(url, "here")
    tk.cache.pull(url, "expected")
    tk.cache.push(url, "two")
    size = tk.cache.pull(url, "expected")
    tk.cache.push("memory://other", "other")
    tk.cache.pull("memory://other", "here")  # younger than those of the first URL
    tk.cache.set_limit(tk.cache.info("here").size + size // 2, "here")
    assert tk.cache.pull(url, "here") == size
    assert tk.cache.info("here").size == tk.cache.info("expected").size
    assert tk.cache.pull(url, "here") == 0


def test_values_that_were_pushed_and_pulled_are_not_computed_again(
    make: Make, photos: Path, computed: list[int], tmp_path: Path
) -> None:
    make(cache="one").fit(photos / "train", verbose=0)
    size = tk.cache.info("one").size
    assert tk.cache.push("memory://values", "one") == size
    assert tk.cache.push("memory://values/", "one") == 0
    put("memory://values/readme.txt", b"-")
    put("memory://values/../../evil.rows.npy", b"-")
    computed.clear()
    assert tk.cache.pull("memory://values", "two") == size
    assert tk.cache.pull("memory://values", "two") == 0
    with refused(tk.InvalidInputError, "There are no values at 'memory://valeus'"):
        tk.cache.pull("memory://valeus", "two")
    make(cache="two").fit(photos / "train", verbose=0)
    assert computed == []
    with refused(tk.InvalidInputError, "set_limit"):
        tk.cache.set_limit(100, "three")
        tk.cache.pull("memory://values", "three")
    for bad in ("values", "nowhere/values"):
        with refused(tk.InvalidInputError, "must be the URL of a folder"):
            tk.cache.push(bad)


def test_a_photo_that_is_replaced_while_it_is_read_is_refused(
    make: Make, photos: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tk.check_images(f"{bucket}/train", cache=tmp_path / "store", verbose=0)  # now the key of each photo is known
    memory, other = type(fsspec.filesystem("memory")), (photos / "test/red/00.png").read_bytes()
    read = memory.cat_file

    def replaced(files: Any, path: str, **options: Any) -> bytes:
        return other if path.endswith("train/lying/00.png") else bytes(read(files, path, **options))

    monkeypatch.setattr(memory, "cat_file", replaced)
    with refused(tk.ImageReadError, "train/lying/00.png", "changed while the images were read"):
        make(cache=tmp_path / "store").fit(f"{bucket}/train", verbose=0)
    local = [str(photos / "train/lying/00.png")]
    clf = make(cache=tmp_path / "store").fit(photos / "train", verbose=0)
    assert np.array_equal(clf.transform(local), make(cache=False).fit(photos / "train", verbose=0).transform(local))


def test_photos_without_an_extension_are_found_at_a_url(make: Make, photos: Path, bucket: str) -> None:
    for path in sorted((photos / "train").rglob("*1.png")):
        name = f"{path.parent.name}/{path.name}"
        put(f"{bucket}/train/{name.removesuffix('.png')}", path.read_bytes())
        fsspec.filesystem("memory").rm_file(f"{bucket}/train/{name}")
    put(f"{bucket}/train/red/notes", b"no image")
    clf = make().fit(f"{bucket}/train", verbose=0)
    assert sum(clf.history_.phases[0].images.values()) == 36
    assert len(clf.predict(f"{bucket}/train", verbose=0)) == 36


def test_a_question_mark_in_a_bucket_is_part_of_the_name(loaded: tk.TransferClassifier, photos: Path) -> None:
    put("memory://odd/who?.png", (photos / "new/red.png").read_bytes())
    assert [p.path for p in loaded.predict("memory://odd", verbose=0)] == ["memory://odd/who?.png"]


def test_a_request_that_fails_once_is_tried_again(
    loaded: tk.TransferClassifier, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: set[str] = set()
    memory = type(fsspec.filesystem("memory"))
    read = memory.cat_file

    def failing(files: Any, path: str, **options: Any) -> bytes:
        if path not in failed:
            failed.add(path)
            raise TimeoutError("try later")
        return bytes(read(files, path, **options))

    monkeypatch.setattr(memory, "cat_file", failing)
    monkeypatch.setattr("transferkit._common.remote.PAUSES", (0.0,))
    assert len(loaded.predict(f"{bucket}/new", on_bad_image="skip", verbose=0)) == len(failed) == 3


def test_only_a_few_threads_decode_photos_at_urls(
    loaded: tk.TransferClassifier, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transferkit.images import decoding
    from transferkit.network import thread_count

    running: list[int] = []
    most, original = [0], decoding.to_rgb

    def slow(*given: Any) -> Any:
        running.append(1)
        most[0] = max(most[0], len(running))
        time.sleep(0.005)
        running.pop()
        return original(*given)

    monkeypatch.setattr(decoding, "to_rgb", slow)
    assert len(loaded.predict(f"{bucket}/train", verbose=0)) == 36
    assert 1 <= most[0] <= thread_count()


@pytest.mark.parametrize("url", ["zip://a/b.jpg::memory://photos.zip", "tar://photos.tar"])
def test_an_archive_at_a_url_is_refused(loaded: tk.TransferClassifier, url: str) -> None:
    with refused(tk.InvalidInputError, "it must be one URL"):
        loaded.predict(url, verbose=0)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")
def test_a_name_that_is_not_utf_8_is_read_from_a_url(
    loaded: tk.TransferClassifier, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes((photos / "new" / "red.png").read_bytes())
    assert [p.label for p in loaded.predict(tmp_path.as_uri().replace("%FF", "\udcff"), verbose=0)] == ["red"]
