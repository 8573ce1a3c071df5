"""The programs in examples/, run as a user runs them."""

from __future__ import annotations

import csv
import io
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import write_png

import transferkit as tk

EXAMPLES = Path(__file__).parents[1] / "examples"
MOBILENET = "mobilenet_v2_1.0_224_imagenet_notop.weights.h5"


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


def pictures(folder: Path, count: int) -> Path:
    """Links to the first photos of each class of `folder`, in the working directory."""
    target = Path(f"photos-{folder.name}").absolute()
    for kind in ("cats", "dogs"):
        (target / kind).mkdir(parents=True)
        for photo in sorted((folder / kind).glob("*.jpg"))[:count]:
            (target / kind / photo.name).symlink_to(photo)
    return target


def test_quickstart_without_a_folder_and_predictions_from_its_file(tmp_path: Path) -> None:
    printed = run("quickstart.py", cwd=tmp_path)
    saved = tmp_path / "transferkit-quickstart.keras"
    assert "random weights" in printed.lower()
    assert printed.rstrip().endswith(str(saved))
    accuracy = float(printed.partition("\naccuracy ")[2].partition(",")[0])
    assert accuracy >= 0.7  # chance is 0.25

    new = tmp_path / "new"
    new.mkdir()
    write_png(new / "red.png", np.full((40, 40, 3), (255, 0, 0), np.uint8))
    table = list(csv.DictReader(io.StringIO(run("predict_folder.py", saved, new, cwd=tmp_path))))
    assert [row["path"] for row in table] == [str(new / "red.png")]
    assert table[0]["label"] in ("circles", "squares", "stripes", "triangles")
    assert 0.25 <= float(table[0]["confidence"]) <= 1


@pytest.mark.parametrize(
    ("program", "argument"),
    [("quickstart.py", "--weights"), ("fine_tune.py", "--at"), ("predict_folder.py", "folder")],
)
def test_an_example_says_what_it_takes(program: str, argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        runpy.run_path(str(EXAMPLES / program))["main"](["--help"])
    assert argument in capsys.readouterr().out


@pytest.mark.slow
def test_quickstart_on_photos(tmp_path: Path, assets: Path) -> None:
    photos = pictures(assets / "data" / "cats_dogs" / "train", 30)
    weights = assets / "weights" / MOBILENET
    printed = run("quickstart.py", photos, "--weights", weights, "--output", "pets.keras", cwd=tmp_path)
    assert printed.rstrip().endswith(str(tmp_path / "pets.keras"))
    assert tk.TransferClassifier.load(tmp_path / "pets.keras").classes_.tolist() == ["cats", "dogs"]


@pytest.mark.slow
def test_fine_tune_on_photos(tmp_path: Path, assets: Path) -> None:
    train = pictures(assets / "data" / "cats_dogs" / "train", 30)
    test = pictures(assets / "data" / "cats_dogs" / "test", 10)
    weights = assets / "weights" / MOBILENET
    arguments = ("--at", "block_16", "--weights", weights, "--test", test)
    printed = run("fine_tune.py", train, *arguments, cwd=tmp_path)
    figures = {
        line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.startswith(("fit ", "fine_tune "))
    }
    assert float(figures["fit"][0]) >= 0.8
    clf = tk.TransferClassifier.load(tmp_path / "transferkit-fine-tuned.keras")
    assert [phase.first_layer for phase in clf.history_.phases] == ["logits", "block_16_expand"]
