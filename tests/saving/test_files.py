"""Where a classifier is saved to and loaded from: paths, and open binary files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forging import manifest_of, with_manifest
from helpers import refused

import transferkit as tk

KEYS = {"keras", "tensorflow", "numpy", "python"}


def as_bytes(clf: tk.TransferClassifier) -> bytes:
    buffer = io.BytesIO()
    clf.save(buffer)
    return buffer.getvalue()


class TestBinaryFiles:
    def test_a_buffer_holds_what_a_path_holds(self, loaded, photos):
        buffer = io.BytesIO(b"before")
        buffer.seek(0, io.SEEK_END)
        loaded.save(buffer)
        assert buffer.tell() == len(buffer.getvalue()), "the next write goes behind it"
        buffer.seek(len(b"before"))
        again = tk.TransferClassifier.load(buffer)
        expected = loaded.predict_proba(photos / "test", verbose=0)
        assert again.predict_proba(photos / "test", verbose=0) == pytest.approx(expected, abs=1e-6)

    @pytest.mark.thorough
    @pytest.mark.parametrize("buffering", [0, 100, -1])
    def test_an_open_file(self, loaded, tmp_path, buffering):
        with (tmp_path / "any name").open("wb", buffering) as file:
            loaded.save(file)
        with (tmp_path / "any name").open("rb", buffering) as file:
            assert tk.TransferClassifier.load(file).backbone == "TinyNet"
        assert tk.TransferClassifier.load(tmp_path / "any name").backbone == "TinyNet"

    def test_a_stream_that_cannot_go_back(self, loaded, photos):
        reader, writer = os.pipe()

        class Slow(io.RawIOBase):
            """Takes a few bytes at a time, as sockets do."""

            def writable(self):
                return True

            def write(self, data):
                return os.write(writer, data[:5_000])

        with os.fdopen(reader, "rb") as source:
            os.set_blocking(writer, True)

            def send():
                loaded.save(Slow())
                os.close(writer)

            thread = threading.Thread(target=send)
            thread.start()
            clf = tk.TransferClassifier.load(source)
            thread.join()
        expected = loaded.predict_proba(photos / "test", verbose=0)
        assert clf.predict_proba(photos / "test", verbose=0) == pytest.approx(expected, abs=1e-6)

    def test_a_disk_that_is_full_is_named(self, loaded):
        class Full(io.BytesIO):
            name = "far.keras"

            def write(self, data):
                raise OSError(28, "No space left on device")

        with refused(tk.BundleError, "could not be written to 'far.keras' (No space left", "Make room"):
            loaded.save(Full())

    @pytest.mark.parametrize("mode", ["w", "r", "rb", "wb", "closed"])
    def test_files_that_are_closed_or_open_for_something_else_are_refused(self, loaded, tmp_path, mode):
        (tmp_path / "x").touch()
        with (tmp_path / "x").open(mode.replace("closed", "rb")) as file:
            if mode == "closed":
                file.close()
            if mode != "wb":
                with refused(tk.InvalidInputError, "closed, open as text or not writable", "mode 'wb'"):
                    loaded.save(file)
            if mode != "rb":
                with refused(tk.InvalidInputError, "closed, open as text or not readable", "mode 'rb'"):
                    tk.TransferClassifier.load(file)

    def test_a_buffer_that_stands_at_its_end_says_so(self, loaded):
        buffer = io.BytesIO()
        loaded.save(buffer)
        with refused(tk.InvalidInputError, "no bytes left to read", "seek(0)"):
            tk.TransferClassifier.load(buffer)

    @pytest.mark.parametrize("place", [3, None, b"pets.keras", [1]])
    def test_something_else_is_refused(self, loaded, place):
        with refused(tk.InvalidInputError, "must be a path or an open binary file"):
            tk.TransferClassifier.load(place)
        with refused(tk.InvalidInputError, "must be a path or an open binary file"):
            loaded.save(place)


def test_the_hash_can_be_checked_without_transferkit(saved_file):
    data = saved_file.read_bytes()
    assert data[-64:].decode() == hashlib.sha256(data[:-64]).hexdigest()
    with zipfile.ZipFile(saved_file) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"transferkit sha256 ")
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_name_that_is_too_long_is_not_there(tmp_path):
    with refused(tk.BundleError, "There is no file"):
        tk.TransferClassifier.load(tmp_path / ("a" * 300 + ".keras"))


def test_an_unreadable_file_is_named(saved_file, monkeypatch):
    def refuse(*args: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with refused(tk.BundleError, str(saved_file), "Permission denied"):
        tk.TransferClassifier.load(saved_file)


def test_the_file_says_what_was_trained_and_how(saved_file, photos):
    said = manifest_of(saved_file)
    assert set(said["versions"]) == KEYS
    assert said["saved"].endswith("+00:00")
    (phase,) = said["history"]
    assert phase["images"] == [9, 9, 9]
    assert phase["validation_images"] == 9
    assert len(phase["data"]) == 64
    assert "val_accuracy" in phase["metrics"]


@pytest.mark.thorough
def test_the_fingerprint_follows_the_images_and_not_their_order(make, pictures):
    images, labels = pictures

    def fingerprint(rows: Any) -> str:
        clf = make().fit(images[rows], labels[rows], validation=0, epochs=1, verbose=0)
        return clf.history_.phases[0].data

    rows = np.arange(len(images))
    assert fingerprint(rows) == fingerprint(rows[::-1])


def test_phases_say_how_many_images_of_each_class(loaded, photos):
    assert loaded.history_.phases[0].images == {"lying": 9, "red": 9, "standing": 9}
    loaded.fine_tune(photos / "test", at="stage2", steps=1, validation=0, verbose=0)
    assert loaded.history_.phases[-1].images == {"lying": 6, "red": 6, "standing": 6}
    assert loaded.history_.phases[-1].data != loaded.history_.phases[0].data


def test_class_names_too_long_for_a_file_are_refused_in_words(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr("transferkit.saving.manifest.LARGEST_MANIFEST", 500)
    with refused(tk.BundleError, "names of the 3 classes", "room for 500"):
        loaded.save(tmp_path / "pets.keras")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_format_1_names_the_versions(tmp_path):
    """It had no hash at its end."""
    content = {"format_version": 1, "transferkit_version": "0.1.0", "backbone": "TinyNet"}
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as archive:
        archive.writestr("transferkit.json", json.dumps(content))
    with refused(tk.BundleError, "format version 1, which is older than version 3", "(0.1.0)"):
        tk.TransferClassifier.load(tmp_path / "old.keras")


def test_a_choice_among_unlabelled_images_is_kept(saved_file):
    (phase,) = manifest_of(saved_file)["history"]
    figures = {
        "loss_before": 1.0,
        "loss": 0.9,
        "error": 0.1,
        "accuracy_before": 0.5,
        "accuracy": 0.6,
        "images": 9,
        "folds": 5,
    }
    for kept in ("labelled", "unlabelled", "half-way"):
        with_manifest(saved_file, history=[{**phase, "selection": {**figures, "kept": kept}}])
        (loaded,) = tk.TransferClassifier.load(saved_file).history_.phases
        assert loaded.selection.kept == kept
        assert str(loaded.selection)
