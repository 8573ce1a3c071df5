"""The programs in examples/, run as a user runs them."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing import write_png
from helpers import MOBILENET, ROOT

import transferkit as tk

EXAMPLES = ROOT / "examples"

# What only an example runs has no test.
pytestmark = pytest.mark.no_cover


def main_of(program: str, *arguments: object) -> None:
    """A program in this process, which has imported TensorFlow already."""
    runpy.run_path(str(EXAMPLES / program))["main"](list(map(str, arguments)))


def run(program: str, *arguments: object, cwd: Path) -> str:
    """Standard output of a program in a fresh process without a network; its errors are shown if it fails."""
    no_network = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https")}
    result = subprocess.run(
        [sys.executable, EXAMPLES / program, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **no_network},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def pictures(folder: Path, count: int, target: Path) -> Path:
    """Links to the first photos of each class of `folder`, in a new folder in `target`."""
    target = target / f"photos-{folder.name}"
    for kind in ("cats", "dogs"):
        (target / kind).mkdir(parents=True)
        for photo in sorted((folder / kind).glob("*.jpg"))[:count]:
            (target / kind / photo.name).symlink_to(photo)
    return target


@pytest.mark.docs
def test_quickstart_without_a_folder_and_predictions_from_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = run("quickstart.py", cwd=tmp_path)
    saved = tmp_path / "transferkit-quickstart.keras"
    assert printed.rstrip().endswith(str(saved))
    before, after = (
        float(re.findall(rf"^{step} +(\d\.\d+)", printed, re.MULTILINE)[0]) for step in ("fit", "fine_tune")
    )
    assert after > before - 0.03
    assert before >= 0.6  # chance is 0.2

    new = tmp_path / "new"
    new.mkdir()
    write_png(new / "red.png", np.full((40, 40, 3), (255, 0, 0), np.uint8))
    main_of("predict_folder.py", saved, new)
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["path"] for row in table] == [str(new / "red.png")]
    assert table[0]["label"] in ("circles", "squares", "stars", "stripes", "triangles")
    assert 0.2 <= float(table[0]["confidence"]) <= 1


@pytest.mark.parametrize(
    ("program", "argument"),
    [("quickstart.py", "folder"), ("fine_tune.py", "--at"), ("predict_folder.py", "folder")],
)
def test_an_example_says_what_it_takes(program: str, argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main_of(program, "--help")
    assert argument in capsys.readouterr().out


def test_quickstart_takes_photos_alone(tmp_path: Path) -> None:
    divided = runpy.run_path(str(EXAMPLES / "quickstart.py"))["divided"]
    names = [
        *(f"cats/{n}.jpg" for n in range(11)),
        "dogs/a.PNG",
        "dogs/notes.txt",
        "dogs/._a.png",
        ".cache/1.png",
        "top.jpg",
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    training, test = divided(tmp_path)
    assert len(test) == 2
    assert {path.parent.name for path in test} == {"cats"}
    assert len(training) == 10
    assert not set(training) & set(test)
    assert [path.name for path in training if path.parent.name != "cats"] == ["a.PNG"]


@pytest.mark.parametrize("names", [[], ["a.jpg"], ["cats/1.jpg", "dogs/1.jpg"], [f"cats/{n}.jpg" for n in range(9)]])
def test_quickstart_says_what_it_takes_of_a_folder(
    names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(SystemExit):
        main_of("quickstart.py", tmp_path)
    assert f"{tmp_path} holds" in capsys.readouterr().err


def cells_of_code() -> list[dict[str, Any]]:
    cells = json.loads((EXAMPLES / "tour.ipynb").read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_is_kept_without_outputs() -> None:
    assert [cell for cell in cells_of_code() if cell["outputs"] or cell["execution_count"]] == []


@pytest.mark.slow
def test_each_cell_of_the_notebook_runs_and_shows_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names: dict[str, Any] = {"__name__": "tour"}
    shown = []
    for cell in cells_of_code():
        *steps, last = ast.parse("".join(cell["source"])).body
        if not isinstance(last, ast.Expr):
            steps.append(last)
        exec(compile(ast.Module(steps, []), "tour", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "tour", "eval"), names)
            shown.append(value._repr_png_() if hasattr(value, "_repr_png_") else value._repr_html_())
    assert len(shown) == 8
    assert all(shown)
    assert names["evaluation"].accuracy >= 0.7  # chance is 0.33
    assert Path("shapes.keras").is_file()


@pytest.mark.docs
def test_quickstart_on_photos(tmp_path: Path, assets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = pictures(assets / "data" / "cats_dogs" / "train", 10, tmp_path)
    main_of("quickstart.py", photos, "--output", "pets.keras")
    assert capsys.readouterr().out.rstrip().endswith(str(tmp_path / "pets.keras"))
    assert tk.TransferClassifier.load(tmp_path / "pets.keras").classes_.tolist() == ["cats", "dogs"]


@pytest.mark.slow
def test_fine_tune_on_photos(tmp_path: Path, assets: Path) -> None:
    train = pictures(assets / "data" / "cats_dogs" / "train", 30, tmp_path)
    test = pictures(assets / "data" / "cats_dogs" / "test", 10, tmp_path)
    weights = assets / "weights" / MOBILENET
    arguments = ("--at", "block_16", "--weights", weights, "--test", test)
    printed = run("fine_tune.py", train, *arguments, cwd=tmp_path)
    figures = {
        line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.startswith(("fit ", "fine_tune "))
    }
    assert float(figures["fit"][0]) >= 0.8
    clf = tk.TransferClassifier.load(tmp_path / "transferkit-fine-tuned.keras")
    assert [phase.first_layer for phase in clf.history_.phases] == ["logits", "block_16_expand"]
