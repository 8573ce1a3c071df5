"""`resume=`: a run that was killed goes on, and ends as if it had not been."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing import drawn
from helpers import refused

import transferkit as tk
from transferkit.training import checkpoints


class Killed(BaseException):
    """Stands for a kill: nothing of ours catches it."""


@contextmanager
def killed_after(saves: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process dies after so many states were written."""
    written = 0
    save = checkpoints.Checkpoint.save

    def counting(self: Any, state: Any, now: bool = False) -> None:
        nonlocal written
        save(self, state, now)
        written += 1
        if written == saves:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints, "INTERVAL", -1.0)
        patched.setattr(checkpoints.Checkpoint, "save", counting)
        with suppress(Killed):
            yield


def weights(clf: tk.TransferClassifier) -> list[Any]:
    return list(clf.network_.get_weights())


def equal(one: tk.TransferClassifier, other: tk.TransferClassifier) -> bool:
    """Whether weights and histories are the same to the last bit; the time they took aside."""
    same = all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))
    phases = zip(one.history_.phases, other.history_.phases, strict=True)
    return same and all((a.metrics, a.kept, a.selection) == (b.metrics, b.kept, b.selection) for a, b in phases)


FITS: dict[str, dict[str, Any]] = {
    "steps": {"epochs": 4},
    "steps, validation": {"epochs": 4, "validation": 0.2, "learning_rate": 0.01},
    "new changes in each epoch": {"epochs": 3, "augmentation": "light"},
    "views": {"epochs": 4, "augmentation": "light", "views": 2},
}


@pytest.mark.parametrize(
    ("saves", "case"),
    [(3, "steps, validation")]
    + [
        pytest.param(saves, case, marks=pytest.mark.thorough)
        for saves in (1, 3)
        for case in FITS
        if (saves, case) != (3, "steps, validation")
    ],
)
def test_fit_goes_on(
    make: Any, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, saves: int
) -> None:
    given = dict(FITS[case])
    options = {name: given.pop(name) for name in ("augmentation", "views") if name in given}
    whole = make(seed=3, **options).fit(*pictures, **given, verbose=0)
    with killed_after(saves, monkeypatch):
        make(seed=3, **options).fit(*pictures, **given, resume=tmp_path / "run", verbose=0)
    again = make(seed=3, **options).fit(*pictures, **given, resume=tmp_path / "run", verbose=0)
    assert equal(again, whole)


@pytest.mark.thorough
@pytest.mark.parametrize("saves", [1, 3, 5])
@pytest.mark.parametrize("given", [{"steps": 6}, {"epochs": 3, "learning_rate": 1e-3}], ids=["recipe", "plain"])
def test_fine_tune_goes_on_in_a_fold_and_after_them(
    make: Any, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], saves: int
) -> None:
    def fitted() -> tk.TransferClassifier:
        return make(seed=0).fit(*pictures, verbose=0)  # type: ignore[no-any-return]

    whole = fitted().fine_tune(at="stage2", **given, verbose=0)
    with killed_after(saves, monkeypatch):
        fitted().fine_tune(at="stage2", **given, resume=tmp_path, verbose=0)
    assert equal(fitted().fine_tune(at="stage2", **given, resume=tmp_path, verbose=0), whole)


def test_it_does_not_begin_again(
    make: Any, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with killed_after(3, monkeypatch):
        make(seed=0).fit(*pictures, epochs=5, resume=tmp_path, verbose=0)
    make(seed=0).fit(*pictures, epochs=5, resume=tmp_path, verbose=2)
    said = capsys.readouterr().out
    assert "fit continues after epoch 3." in said
    assert "epoch 3 of 5" not in said
    assert "epoch 4 of 5" in said


@pytest.mark.thorough
def test_a_run_without_a_seed_keeps_the_one_it_drew(
    make: Any, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with killed_after(1, monkeypatch):
        make(seed=None).fit(*pictures, epochs=3, resume=tmp_path, verbose=0)
    seed = json.loads((tmp_path / "transferkit-fit.json").read_text())["seed"]
    again = make(seed=None).fit(*pictures, epochs=3, resume=tmp_path, verbose=0)
    assert equal(again, make(seed=seed).fit(*pictures, epochs=3, verbose=0))


# ---- what is refused ----

CHANGES: dict[str, dict[str, Any]] = {
    "epochs": {"epochs": 6},
    "batch_size": {"batch_size": 8},
    "learning_rate": {"learning_rate": 0.02},
    "class_weight": {"class_weight": {"lying": 2.0, "red": 1.0, "standing": 1.0}},
    "validation images": {"validation": 0.5},
}


@pytest.mark.parametrize(
    "name", [name if name == "learning_rate" else pytest.param(name, marks=pytest.mark.thorough) for name in CHANGES]
)
def test_another_argument_is_named(make: Any, pictures: Any, tmp_path: Path, name: str) -> None:
    images, labels = pictures[0][:-1], pictures[1][:-1]  # of unequal classes
    make(seed=0).fit(images, labels, epochs=2, resume=tmp_path, verbose=0)
    with refused(tk.InvalidInputError, str(tmp_path), "other values of", name, "another folder"):
        make(seed=0).fit(images, labels, **{"epochs": 2} | CHANGES[name], resume=tmp_path, verbose=0)


@pytest.mark.thorough
@pytest.mark.parametrize("what", ["training images", "labels", "classes", "backbone", "seed", "dropout"])
def test_other_data_and_backbones_are_named(make: Any, pictures: Any, tmp_path: Path, what: str) -> None:
    images, labels = pictures
    make(seed=0).fit(images, labels, epochs=1, resume=tmp_path, verbose=0)
    swapped = labels.copy()
    swapped[:2] = labels[1::-1]
    renamed = np.where(labels == "red", "blue", labels)
    other = {
        "training images": (make(seed=0), drawn(12, seed=77)[0], labels),
        "labels": (make(seed=0), images, swapped),
        "classes": (make(seed=0), images, renamed),
        "backbone": (tk.TransferClassifier("TransferKitTiny", seed=0), images, labels),
        "seed": (make(seed=1), images, labels),
        "dropout": (make(seed=0, dropout=0.5), images, labels),
    }
    clf, *data = other[what]
    with refused(tk.InvalidInputError, "started with other values of", "it can only go on unchanged") as caught:
        clf.fit(*data, epochs=1, resume=tmp_path, verbose=0)
    named = str(caught.value).partition("other values of ")[2].partition(":")[0].split(", ")
    assert what in named
    assert what in ("training images", "labels", "classes") or named == [what]


def test_what_follows_from_an_argument_is_not_named(make: Any, pictures: Any, tmp_path: Path) -> None:
    make(seed=0).fit(*pictures, epochs=1, resume=tmp_path, verbose=0)
    with refused(tk.InvalidInputError, "other values of validation mode, epochs: it can only go on unchanged"):
        make(seed=0).fit(*pictures, resume=tmp_path, verbose=0)


def test_callbacks_are_refused(make: Any, pictures: Any, tmp_path: Path) -> None:
    import keras

    with refused(tk.InvalidInputError, "callbacks"):
        make().fit(*pictures, callbacks=[keras.callbacks.Callback()], resume=tmp_path)


@pytest.mark.parametrize("folder", [7, "", b"run"], ids=repr)
def test_a_folder_is_a_path(make: Any, pictures: Any, folder: Any) -> None:
    with refused(tk.InvalidInputError, "resume", "folder"):
        make().fit(*pictures, resume=folder)


def test_a_file_in_its_place_is_refused(make: Any, pictures: Any, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with refused(tk.InvalidInputError, "resume", "Pass another folder"):
        make().fit(*pictures, resume=tmp_path / "run")


# ---- files ----


@pytest.mark.thorough
def test_files_of_the_user_stay(make: Any, pictures: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    make(seed=0).fit(*pictures, epochs=2, resume=tmp_path, verbose=0).fine_tune(steps=2, resume=tmp_path, verbose=0)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    others = {path.name for path in tmp_path.iterdir()} - {"notes.txt"}
    assert all(name.startswith(("transferkit-fit.", "transferkit-fine_tune-1.")) for name in others)


@pytest.mark.thorough
@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_state_is_not_used(make: Any, pictures: Any, tmp_path: Path, damage: str) -> None:
    whole = make(seed=0).fit(*pictures, epochs=3, verbose=0)
    make(seed=0).fit(*pictures, epochs=3, resume=tmp_path, verbose=0)
    path = tmp_path / "transferkit-fit.run.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 8
    cut = {"truncated": content[:-40], "flipped": content, "empty": b"", "text": b"no numbers"}
    path.write_bytes(bytes(cut[damage]))
    assert equal(make(seed=0).fit(*pictures, epochs=3, resume=tmp_path, verbose=0), whole)


@pytest.mark.thorough
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_full_disk_is_named_and_the_state_from_before_stays(
    make: Any, pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    resource = pytest.importorskip("resource")
    run = tmp_path / "run"
    clf = make(seed=0, cache=False).fit(*pictures, verbose=0)
    before = weights(clf)
    with killed_after(2, monkeypatch):
        make(seed=3, cache=False).fit(*pictures, epochs=4, resume=run, verbose=0)
    state = {path.name: path.read_bytes() for path in run.iterdir()}
    size = int(share * len(state["transferkit-fit.run.npz"]))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        clf.set_params(seed=3)
        with refused(
            tk.TransferKitError,
            f"written to {str(run / 'transferkit-fit.run.npz')!r} (File too large)",
            "Free some space",
        ):
            clf.fit(*pictures, epochs=4, resume=run, verbose=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == state
    assert all(map(np.array_equal, weights(clf), before)), "the previous classifier stays"
    again = clf.fit(*pictures, epochs=4, resume=run, verbose=0)
    assert equal(again, make(seed=3, cache=False).fit(*pictures, epochs=4, verbose=0))


KILLED = textwrap.dedent("""
    import sys
    import numpy as np
    import transferkit as tk
    from transferkit.training import checkpoints
    from drawing import drawn
    checkpoints.INTERVAL = -1.0
    folder, target = sys.argv[1:]
    images, labels = drawn(20, seed=5)
    clf = tk.TransferClassifier("TransferKitTiny", seed=0)
    clf.fit(images, labels, epochs=10, validation=None, resume=folder, verbose=0)
    clf.fine_tune(at="block_7", steps=40, resume=folder, verbose=0)
    np.savez(target, *clf.network_.get_weights())
""")


@pytest.mark.slow
def test_processes_killed_at_random_moments(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}

    def start(folder: Path, target: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", KILLED, folder, target], env=environment)

    started = time.monotonic()
    assert start(tmp_path / "whole", tmp_path / "whole.npz").wait() == 0
    seconds, rng = time.monotonic() - started, np.random.default_rng(0)
    with np.load(tmp_path / "whole.npz") as expected:
        for number in range(10):
            folder, target = tmp_path / f"run{number}", tmp_path / f"{number}.npz"
            for _ in range(10):
                process = start(folder, target)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(rng.uniform(0.3, 1.0) * seconds)
                process.send_signal(signal.SIGKILL)
                process.wait()
            assert start(folder, target).wait() == 0
            with np.load(target) as found:
                assert all(np.array_equal(found[name], expected[name]) for name in expected.files)


def test_a_head_that_is_solved_for_can_resume(make: Any, pictures: Any) -> None:
    new = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    first = make().fit(*pictures, unlabelled=new, resume="run", verbose=0)
    again = make().fit(*pictures, unlabelled=new, resume="run", verbose=0)
    assert all(np.array_equal(*pair) for pair in zip(weights(first), weights(again), strict=True))
    with refused(tk.InvalidInputError, "unlabelled images"):
        make().fit(*pictures, unlabelled=new[:3], resume="run", verbose=0)
