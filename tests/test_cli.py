"""The command line: each command does what its public name does, and says so in the way of a good program."""

from __future__ import annotations

import csv
import io
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from drawing import class_folder
from helpers import ROOT
from PIL import Image

import transferkit as tk
from transferkit import __main__ as cli
from transferkit.__main__ import main

Fitted = tuple[Path, npt.NDArray[np.float32]]


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_predict_writes_csv_with_the_answers_of_predict(
    fitted_once: Fitted, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, probabilities = fitted_once
    assert main(["predict", str(file), str(photos / "test"), "--probabilities", "--typicality"]) == 0
    rows = rows_of(capsys.readouterr().out)
    expected = tk.TransferClassifier.load(file).predict(photos / "test", verbose=0)
    assert [(row["path"], row["label"]) for row in rows] == [(one.path, one.label) for one in expected]
    assert [float(row["typicality"]) for row in rows] == pytest.approx(expected.typicalities, abs=1e-6)
    names = ["lying", "red", "standing"]
    found = np.array([[float(row[f"probability of {name}"]) for name in names] for row in rows])
    np.testing.assert_allclose(found, probabilities, atol=1e-6)
    np.testing.assert_allclose([float(row["confidence"]) for row in rows], found.max(axis=1))


def test_predict_leaves_the_label_out_below_a_confidence(
    fitted_once: Fitted, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, probabilities = fitted_once
    middle = float(np.median(probabilities.max(axis=1)))
    for given in (["--format", "csv"], ["--format", "jsonl"]):
        assert main(["predict", str(file), str(photos / "test"), "--min-confidence", str(middle), *given]) == 0
        out = capsys.readouterr().out
        labels = [row["label"] for row in (rows_of(out) if given[1] == "csv" else map(json.loads, out.splitlines()))]
        assert [not label for label in labels] == (probabilities.max(axis=1) < middle).tolist()


def test_predict_takes_paths_from_standard_input_in_chunks(
    fitted_once: Fitted, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [str(path) for path in sorted((photos / "test").rglob("*.png"))]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([*paths[:7], "", *paths[7:]])))
    monkeypatch.setattr(cli, "CHUNK", 4)
    calls: list[int] = []
    predict = tk.TransferClassifier.predict

    def counting(clf: tk.TransferClassifier, images: list[str], **options: Any) -> Any:
        calls.append(len(images))
        return predict(clf, images, **options)

    monkeypatch.setattr(tk.TransferClassifier, "predict", counting)
    new = str(photos / "new" / "red.png")
    assert main(["predict", str(fitted_once[0]), new, "-", "--format", "jsonl", "--quiet"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["path"] for answer in answers] == [new, *paths]
    assert set(answers[0]) == {"path", "label", "confidence"}
    assert calls == [4, 4, 4, 4, 3]


@pytest.mark.thorough
def test_each_command_names_what_it_skips(
    fitted_once: Fitted, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(photos / "test", "test")
    Path("test/red/broken.jpg").write_bytes(b"")
    for given in (
        ["evaluate", str(fitted_once[0]), "test"],
        ["explain", str(fitted_once[0]), "test", "--figure", "shown.png"],
        ["fit", "test", "new.keras", "--backbone", "TinyNet", "--weights", "none"],
    ):
        assert main([*given, "--on-bad-image", "skip"]) == 0
        assert f"{Path('test/red/broken.jpg')}: the file is empty" in capsys.readouterr().err


def test_predict_skips_what_cannot_be_read_and_names_it(
    fitted_once: Fitted, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.jpg").write_bytes(b"")
    given = ["predict", str(fitted_once[0]), "broken.jpg", str(photos / "new"), "--probabilities", "--format", "jsonl"]
    assert main([*given, "--on-bad-image", "skip"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert list(json.loads(out.splitlines()[0])["probabilities"]) == ["lying", "red", "standing"]
    assert err == "transferkit: broken.jpg: the file is empty\n"
    assert main(given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("transferkit: The image 'broken.jpg' cannot be read")
    assert "Traceback" not in err


@pytest.mark.thorough
def test_fit_saves_a_classifier_with_the_options_given(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--weights", "none", "--seed", "3", "--input-size", "32x40", "--validation", "0.25", "--dropout", "0.2"]
    more = ["--epochs", "2", "--batch-size", "8", "--learning-rate", "0.01", "--class-weight", "balanced", "--no-cache"]
    assert main(["fit", str(photos / "train"), "made.keras", "--backbone", "TinyNet", *options, *more]) == 0
    out = capsys.readouterr().out
    assert "fit trains a head for 3 classes on TinyNet at 32 x 40 px: 36 images, 25 % of them for validation." in out
    clf = tk.TransferClassifier("TinyNet", weights=None, seed=3, input_size=(32, 40), dropout=0.2, cache=False)
    clf.fit(
        photos / "train",
        validation=0.25,
        epochs=2,
        batch_size=8,
        learning_rate=0.01,
        class_weight="balanced",
        verbose=0,
    )
    made = tk.TransferClassifier.load("made.keras")
    np.testing.assert_array_equal(made.predict_proba(photos / "new"), clf.predict_proba(photos / "new"))
    assert out.endswith(f"{made.summary()}\n")


@pytest.mark.thorough
def test_fit_may_fine_tune_too(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned: list[Any] = []
    note = lambda clf, **options: tuned.append(options)  # noqa: E731
    monkeypatch.setattr(tk.TransferClassifier, "fine_tune", note)
    options = ["--backbone", "TinyNet", "--weights", "none", "--epochs", "1", "--quiet"]
    for more in (["--fine-tune"], ["--fine-tune", "stage2"], ["--fine-tune", "3"]):
        assert main(["fit", str(photos / "train"), "made.keras", *options, *more]) == 0
    assert tuned == [{"at": at, "verbose": 0} for at in (None, "stage2", 3)]


def test_what_fit_gave_is_saved_before_fine_tune(photos: Path) -> None:
    options = ["--backbone", "TinyNet", "--weights", "none", "--quiet"]
    assert main(["fit", str(photos / "train"), "made.keras", *options, "--fine-tune", "nowhere"]) != 0
    assert len(tk.TransferClassifier.load("made.keras").history_.phases) == 1


def test_evaluate_prints_the_evaluation(fitted_once: Fitted, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["evaluate", str(fitted_once[0]), str(photos / "test"), "--views", "2", "--html", "page.html", "--quiet"]
    assert main(given) == 0
    expected = tk.TransferClassifier.load(fitted_once[0]).evaluate(photos / "test", views=2, verbose=0)
    assert capsys.readouterr().out == f"{expected}\n"
    assert "<table" in Path("page.html").read_text()


def test_check_exits_with_1_where_there_are_serious_faults(capsys: pytest.CaptureFixture[str]) -> None:
    data = class_folder(Path("data"), {"a": 3, "b": 3})
    assert main(["check", str(data), "--cache", "values", "--quiet"]) == 0
    assert capsys.readouterr().out == f"{tk.check_images(data, verbose=0)}\n"
    assert any(Path("values").iterdir())
    (data / "a" / "broken.png").write_bytes(b"")
    assert main(["check", str(data), "--html", "page.html", "--test", str(data)]) == 1
    assert "broken.png" in capsys.readouterr().out
    assert "broken.png" in Path("page.html").read_text()


@pytest.mark.thorough
def test_compare_prints_the_comparison(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(photos / "train"), "--backbones", "TransferKitTiny", "--seed", "1", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("36 images")
    assert "TransferKitTiny" in out


def test_explain_draws_a_figure(fitted_once: Fitted, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert (
        main(["explain", str(fitted_once[0]), str(photos / "new" / "red.png"), "--figure", "why.png", "--quiet"]) == 0
    )
    with Image.open("why.png") as figure:
        assert figure.format == "PNG"
    assert main(["explain", "nowhere.keras", "a.png", "--figure", "why.pdf"]) == 2
    assert "`--figure='why.pdf'` must end in .png" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [
        ["explain", "pets.keras", "a.png", "--figure", "nowhere/a.png"],
        ["evaluate", "pets.keras", "photos", "--html", "nowhere/a.html"],
        ["check", "photos", "--html", "nowhere/a.html"],
    ],
)
def test_a_file_in_no_folder_is_refused_before_the_work(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(given) == 2
    message = capsys.readouterr().err
    assert f"{given[-1]}'` is in a folder that does not exist. Make the folder first" in message


@pytest.mark.thorough
def test_export_prints_the_report(fitted_once: Fitted, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(fitted_once[0]), "pets", "--check", str(photos / "test"), "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("pets (SavedModel, ")
    assert Path("pets/saved_model.pb").is_file()


def test_cache_shows_limits_and_clears(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    assert capsys.readouterr().out == f"{tk.cache.info()}\n"
    assert main(["cache", "--folder", "values", "--limit", "1000", "--clear"]) == 0
    assert tk.cache.info("values").limit == 1000
    assert "of 1.0 kB in 0 files" in capsys.readouterr().out


def test_backbones_lists_those_that_meet_the_conditions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones", "--max-parameters", "500000", "--input-size", "128x96"]) == 0
    assert capsys.readouterr().out.splitlines() == tk.list_backbones(max_parameters=500_000, input_size=(128, 96))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["predict", "nowhere.keras", "a.jpg"], "There is no file 'nowhere.keras'"),
        (["check", "nowhere"], "The folder 'nowhere' does not exist"),
        (["fit", "nowhere", "pets.h5"], "must end in .keras"),
        (["fit", ".", "pets.keras", "--backbone", "ResNet5"], "ResNet50"),
        (["backbones", "--family", "Foo"], "`family='Foo'`"),
    ],
)
def test_an_error_is_one_message_and_status_2(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("transferkit: ")
    assert part in err


@pytest.mark.parametrize("arguments", [[], ["paint"], ["fit", "a", "b", "--epochs", "many"], ["check"]])
def test_a_wrong_command_line_shows_the_usage_and_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("usage: transferkit")


def test_ctrl_c_is_status_130(fitted_once: Fitted, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tk.TransferClassifier, "evaluate", stop)
    assert main(["evaluate", str(fitted_once[0]), "."]) == 130
    assert capsys.readouterr().err == ""


def started(*arguments: str, **streams: Any) -> subprocess.Popen[str]:
    """The program in a process of its own."""
    places = os.pathsep.join(sys.path)
    command = [sys.executable, "-m", "transferkit", *arguments]
    own = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}  # it sets its own
    return subprocess.Popen(command, env={**own, "PYTHONPATH": places}, text=True, **streams)


def test_help_does_not_import_tensorflow() -> None:
    code = "import sys, transferkit.__main__ as c; c.parser().format_help(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert not {"tensorflow", "keras", "numpy", "rich"} & set(done.stdout.split())


def test_listing_backbones_does_not_import_tensorflow() -> None:
    code = "import sys, transferkit.__main__ as c; c.main(['backbones']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert "MobileNetV2" in done.stdout
    assert not {"tensorflow", "keras"} & set(done.stdout.split())


def test_a_closed_pipe_is_quiet() -> None:
    pipe = subprocess.PIPE
    with started("cache", stdout=pipe, stderr=pipe) as program:
        assert program.stdout is not None and program.stderr is not None
        program.stdout.close()  # before anything is written
        assert program.stderr.read() == ""
        assert program.wait(60) == 141


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="Windows has no such signal")
def test_ctrl_c_while_it_waits_for_paths_leaves_no_traceback(fitted_once: Fitted, assets: Path) -> None:
    clf = tk.TransferClassifier("TransferKitTiny", seed=0)
    clf.fit(assets / "data" / "flowers" / "train", verbose=0).save("flowers.keras")
    pipe = subprocess.PIPE
    with started("predict", "flowers.keras", "-", stdin=pipe, stdout=pipe, stderr=pipe) as program:
        assert program.stdout is not None and program.stderr is not None
        assert program.stdout.readline().startswith("path,")
        time.sleep(1)
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 130
        assert program.stderr.read() == ""


def test_the_page_shows_the_help_of_each_command() -> None:
    """`python docs/command_line.py` writes it again."""
    program = runpy.run_path(str(ROOT / "docs" / "command_line.py"))
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    # How argparse breaks lines differs from one version of Python to the next.
    assert program["rendered"](page).split() == page.split()
    for name, text in program["helps"]().items():
        assert " ".join(text.split()) in " ".join(page.split()), name


def test_messages_of_predict_do_not_get_among_the_answers(
    fitted_once: Fitted, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = tk.TransferClassifier.predict

    def talking(clf: tk.TransferClassifier, images: list[str], **options: Any) -> Any:
        sys.stdout.write("a message")
        return predict(clf, images, **options)

    monkeypatch.setattr(tk.TransferClassifier, "predict", talking)
    assert main(["predict", str(fitted_once[0]), str(photos / "new"), "--format", "jsonl"]) == 0
    out, err = capsys.readouterr()
    assert len([json.loads(line) for line in out.splitlines()]) == 3
    assert "a message" in err


@pytest.mark.thorough
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file names")
def test_any_name_is_written_in_any_locale(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = str(tmp_path / "tiny.keras")
    tk.TransferClassifier("TransferKitTiny", input_size=32, seed=0).fit(photos / "train", verbose=0).save(file)
    new = tmp_path / "new"
    new.mkdir()
    for name in ("猫".encode(), b"bad\xff"):
        shutil.copy(photos / "new" / "red.png", new / os.fsdecode(name + b".png"))
    for kind in ("csv", "jsonl"):
        monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
        run = started(
            "predict",
            file,
            str(new),
            "--format",
            kind,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
        out = run.communicate(timeout=120)[0]
        assert run.returncode == 0
        assert "猫.png" in out
        assert len(out.splitlines()) == (3 if kind == "csv" else 2)
        assert kind == "csv" or [json.loads(line)["label"] for line in out.splitlines()] == ["red", "red"]
    assert main(["explain", file, str(new), "--figure", str(tmp_path / "all.png")]) == 0


def test_a_number_is_one_in_any_form_and_a_word_is_a_folder() -> None:
    assert [cli.number_or_text(text) for text in ("5", "0.1", "1e-1", "-3", "nan", "5min")] == [
        5,
        0.1,
        0.1,
        -3,
        "nan",
        "5min",
    ]
