"""What the argument `weights` means for a backbone, before anything is fetched."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import refused
from networks import TINY

import transferkit as tk
from transferkit._common.files import cache_folders
from transferkit.backbones.weights import check_weights, find_weights, size_note

SIZE = (32, 32)
FILE = tk.WeightsFile("https://example.org/far.weights.h5", size=32)


def test_none_means_random_weights():
    assert check_weights(TINY, None, SIZE) is None
    assert find_weights(TINY, None, 0) is None


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_a_file_that_is_there(tmp_path, kind):
    path = tmp_path / "own.weights.h5"
    with refused(tk.WeightsError, "There is no weights file", "own.weights.h5", "Check the path"):
        check_weights(TINY, kind(path), SIZE)
    path.touch()
    assert find_weights(TINY, check_weights(TINY, kind(path), SIZE), 0) == path


@pytest.mark.parametrize("choice", [3, True, ["imagenet"], b"imagenet", np.zeros(3)])
def test_another_choice_is_refused(choice):
    with refused(tk.InvalidInputError, "`weights=", "'pretrained', 'imagenet', the path"):
        check_weights(TINY, choice, SIZE)


def test_pretrained_means_what_the_record_says(tmp_path):
    path = tmp_path / "own.weights.h5"
    path.touch()
    for source, expected in (
        (path, path),
        (str(path), path),
        (FILE, FILE),
        (FILE.url, tk.WeightsFile(FILE.url)),
        (print, print),
    ):
        record = replace(TINY, pretrained=source)
        assert check_weights(record, "pretrained", SIZE) == expected
        with refused(
            tk.WeightsError, "`weights='imagenet'`", "no pretrained weights trained on ImageNet", "weights='pretrained'"
        ):
            check_weights(record, "imagenet", SIZE)
        assert check_weights(replace(record, trained_on="ImageNet"), "imagenet", SIZE) == expected
    with refused(tk.WeightsError, "'TinyNet'", "has no pretrained weights", "weights=None"):
        check_weights(TINY, "pretrained", SIZE)
    with refused(tk.WeightsError, "There is no weights file"):
        check_weights(replace(TINY, pretrained=tmp_path / "missing.h5"), "pretrained", SIZE)


def test_a_size_without_a_file_of_its_own_says_which_is_used():
    record = tk.get_backbone("MobileNetV2")
    for size, trained in ((160, 160), (224, 224), (100, 224)):
        source = check_weights(record, "imagenet", (size, size))
        note = size_note(record, source, (size, size))
        assert f"_{trained}_no_top.h5" in source.name
        assert (
            note == ""
            if size == trained
            else "for 100 px, so" in note and "for 224 px is used" in note and source.name in note
        )
    source = check_weights(record, "pretrained", (160, 224))
    assert "for 160 x 224 px, so " in size_note(record, source, (160, 224))
    assert size_note(record, None, (100, 100)) == ""


@pytest.mark.thorough
def test_fit_says_which_file_is_used(tmp_path, monkeypatch, photos, capsys):
    TINY.build(SIZE).save_weights(tmp_path / "far.weights.h5")
    monkeypatch.setenv("TRANSFERKIT_WEIGHTS", str(tmp_path))
    record = replace(TINY, name="Far", pretrained=FILE)
    monkeypatch.setattr("transferkit.backbones.registry._registry", {"far": record})
    for size, said in ((32, False), (40, True)):
        tk.TransferClassifier("Far", input_size=size).fit(photos / "train", epochs=1)
        assert ("has no weights for 40 px, so 'far.weights.h5' for 32 px is used" in capsys.readouterr().out) is said


@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", ""])
def test_a_path_that_cannot_be_is_no_file(path):
    with refused(tk.WeightsError, "There is no weights file"):
        check_weights(TINY, path, SIZE)


def test_without_a_home_weights_are_kept_in_a_temporary_folder(monkeypatch):
    for variable in ("KERAS_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, "~nobody-of-this-name/x")
    (folder,) = cache_folders(FILE.url)
    assert folder.parent.name == f"transferkit-{os.getuid()}"


# ---- what a record may say ----


@pytest.mark.parametrize(
    "url", ["ftp://example.org/a.h5", "example.org/a.h5", "https:///a.h5", "http://[::1/a.h5", "", None, 3]
)
def test_an_address_begins_with_http_and_has_a_host(url):
    with refused(tk.InvalidInputError, f"`url={url!r}`", "https://"):
        tk.WeightsFile(url)


@pytest.mark.parametrize(
    "digest", [None, 0, b"", "abc", "md5:abc", "sha1:" + "0" * 40, "sha256:" + "g" * 64, "md5:" + "0" * 64]
)
def test_a_hash_is_text_of_a_known_kind_and_length(digest):
    with refused(tk.InvalidInputError, "`digest=", "64 hexadecimal digits"):
        tk.WeightsFile(FILE.url, digest)


@pytest.mark.parametrize("name", ["../a.h5", "a/b.h5", "a.txt", "a\0.h5", 3, "x" * 200 + ".h5"])
def test_a_name_cannot_leave_its_folder(name):
    with refused(tk.InvalidInputError, "`name=", "ending in .h5"):
        tk.WeightsFile(FILE.url, name=name)


@pytest.mark.parametrize("source", [3, [], ["a.h5"], ""])
def test_a_record_refuses_another_source(source):
    with refused(tk.InvalidInputError, "`pretrained=", "WeightsFile or several"):
        replace(TINY, name="Odd", pretrained=source)
