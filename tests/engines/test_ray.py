"""Ray Data runs the functions of a batch as they are, on a Ray of this machine."""

from __future__ import annotations

import os
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawing import draw, write_png
from helpers import ROOT

import transferkit as tk

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore")]

COUNT = 100


@pytest.fixture(scope="module")
def _ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        # A task that reads wants a whole CPU, and two workers take most of two.
        ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 photos of two classes, one of them broken."""
    root, rng = tmp_path_factory.mktemp("many"), np.random.default_rng(5)
    for number in range(COUNT):
        kind = ("lying", "standing")[number % 2]
        write_png(root / kind / f"{number:03d}.png", draw(kind, rng))
    (root / "lying" / "042.png").write_bytes(b"broken")
    return root


@pytest.fixture(scope="module")
def classifier(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "shapes.keras"
    clf = tk.TransferClassifier("TransferKitTiny", cache=False, seed=0)
    clf.fit(folder, on_bad_image="skip", verbose=0).save(path)
    return path


@pytest.fixture(scope="module")
def expected(folder: Path, classifier: Path) -> dict[str, Any]:
    """What the classifier says here, without Ray, of the photos that can be read."""
    found = tk.TransferClassifier.load(classifier).predict(folder, on_bad_image="skip", verbose=0)
    return dict(zip(map(str, found.paths), found.probabilities, strict=True))


def run(function: Any, folder: Path, **options: Any) -> Any:
    photos = ray.data.read_binary_files(str(folder), include_paths=True, override_num_blocks=8)
    two = ray.data.ActorPoolStrategy(size=2)
    done = photos.map_batches(function, fn_constructor_kwargs=options, batch_size=16, compute=two, num_cpus=0.9)
    return done.to_pandas().sort_values("path", ignore_index=True)


def check(frame: Any, expected: dict[str, Any]) -> None:
    assert len(frame) == frame["path"].nunique() == COUNT
    bad = frame[frame["error"].notna()]
    assert [Path(path).name for path in bad["path"]] == ["042.png"]
    assert bad["error"].tolist() == ["it is not an image of a known format"]
    good = frame[frame["error"].isna()]
    assert set(good["path"]) == set(expected)
    for path, probabilities in zip(good["path"], good["probabilities"], strict=True):
        # The last bits are those of the kernels, which the processor decides on.
        assert np.asarray(probabilities, np.float32) == pytest.approx(expected[path], abs=1e-6)


@pytest.mark.usefixtures("_ray")
def test_two_actors_equal_predict(folder: Path, classifier: Path, expected: dict[str, Any]) -> None:
    frame = run(tk.PredictBatch, folder, classifier=str(classifier), image="bytes", probabilities=True)
    assert "bytes" not in frame
    check(frame, expected)


@pytest.mark.usefixtures("_ray")
def test_a_worker_that_is_killed_loses_and_repeats_no_row(
    folder: Path, classifier: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    killed = tmp_path / "killed"

    class DiesOnce(tk.PredictBatch):
        def __call__(self, batch: Any) -> Any:
            answer = super().__call__(batch)
            try:
                killed.touch(exist_ok=False)
            except FileExistsError:
                return answer
            os._exit(1)

    frame = run(DiesOnce, folder, classifier=str(classifier), image="bytes", probabilities=True)
    assert killed.exists()
    check(frame, expected)


@pytest.mark.usefixtures("_ray")
def test_fit_computes_nothing_after_feature_batch(folder: Path, tmp_path: Path, computed: list[int]) -> None:
    clf = tk.TransferClassifier("TransferKitTiny", cache=tmp_path / "values", seed=0)
    frame = run(tk.FeatureBatch, folder, classifier=clf, store=str(tmp_path / "values"), image="bytes")
    assert len(frame) == frame["path"].nunique() == COUNT
    assert frame["error"].notna().sum() == 1
    clf.fit(folder, on_bad_image="skip", verbose=0)
    assert sum(computed) == 0


@pytest.mark.usefixtures("_ray")
def test_the_examples_run_and_go_on_after_a_stop(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(program: str, *arguments: object) -> None:
        options = ["--workers", "2", "--cpus", "0.9"]
        runpy.run_path(str(ROOT / "examples" / program))["main"]([*map(str, arguments), *options])

    clf, output = tmp_path / "shapes.keras", tmp_path / "answers"
    main("ray_features.py", folder, tmp_path / "values", clf, "--backbone", "TransferKitTiny")
    assert "1 photos cannot be read" in capsys.readouterr().out
    main("ray_predict.py", clf, folder / "standing", output)
    (output / "half.parquet").write_bytes(b"PAR1")  # was being written when the program was stopped
    capsys.readouterr()
    main("ray_predict.py", clf, folder, output)
    assert "50 photos have an answer, 50 have none yet" in capsys.readouterr().out
    answers = pytest.importorskip("pandas").read_parquet(output)
    assert len(answers) == answers["path"].nunique() == COUNT
    assert answers["error"].notna().sum() == 1
