"""The recipes of the documentation: each is run by itself, on drawn pictures, and has left what it promises."""

from __future__ import annotations

import functools
import gc
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from drawing import textures, write_png
from helpers import ROOT

import transferkit as tk

Names = dict[str, Any]

PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"^## ([^\n]+)\n.*?^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))

pytestmark = [pytest.mark.no_cover, pytest.mark.filterwarnings("ignore")]  # the warnings are those of other packages


@pytest.fixture(scope="module")
def drawn_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the recipes find; one training picture is in the folder of another class."""
    folder, rng = tmp_path_factory.mktemp("recipes"), np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 15), ("new", 6)):
        for number, (pixels, kind) in enumerate(zip(*textures(rng, count), strict=True)):
            write_png(folder / "photos" / split / ("" if split == "new" else kind) / f"{number:02d}.png", pixels)
    train = folder / "photos" / "train"
    clf = tk.TransferClassifier("TransferKitTiny", cache=False, seed=0).fit(train, verbose=0)
    clf.save(folder / "pets.keras")
    (train / "stripes" / "00.png").rename(train / "rings" / "wrong.png")
    return folder


@pytest.fixture
def run(drawn_photos: Path, tmp_path: Path) -> Callable[[str], Names]:
    """Runs the program of a recipe, in a folder of its own, and gives its names."""
    shutil.copytree(drawn_photos, tmp_path, dirs_exist_ok=True)

    def run_program(title: str) -> Names:
        names: Names = {"__name__": title}
        exec(compile(PROGRAMS[title], title, "exec"), names)
        return names

    return run_program


def test_every_recipe_has_a_program_and_a_test() -> None:
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    assert list(PROGRAMS) == titles
    tested = re.findall(r'^    .*run\("(.+?)"\)', Path(__file__).read_text(encoding="utf-8"), re.MULTILINE)
    assert tested == titles


@pytest.mark.docs
def test_a_csv_log_holds_both_phases(run: Callable[[str], Names]) -> None:
    history = run("CSVLogger")["clf"].history_
    head, *rows = Path("log.csv").read_text(encoding="utf-8").splitlines()
    assert len(rows) == history.epochs == 12
    losses = [float(row.split(",")[head.split(",").index("loss")]) for row in rows]
    assert losses == pytest.approx(history["loss"])


@pytest.mark.recipes
def test_tensorboard_shows_both_phases_as_one_curve(run: Callable[[str], Names]) -> None:
    import tensorflow as tf

    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    history = run("TensorBoard")["clf"].history_
    for folder, name in (("train", "loss"), ("validation", "val_loss")):
        events = accumulator.EventAccumulator(f"logs/pets/{folder}", size_guidance={"tensors": 0}).Reload()
        curve = events.Tensors("epoch_loss")
        assert [event.step for event in curve] == list(range(12))
        assert [float(tf.make_ndarray(event.tensor_proto)) for event in curve] == pytest.approx(history[name])


@pytest.mark.recipes
def test_mlflow_keeps_figures_a_picture_and_the_classifier(run: Callable[[str], Names]) -> None:
    mlflow = pytest.importorskip("mlflow")
    names = run("MLflow")
    client, done = mlflow.MlflowClient(), mlflow.last_active_run()
    losses = [metric.value for metric in client.get_metric_history(done.info.run_id, "loss")]
    assert losses == pytest.approx(names["clf"].history_["loss"])
    assert done.data.metrics["test_accuracy"] == names["evaluation"].accuracy
    assert done.data.params["backbone"] == "TransferKitTiny"
    assert [file.path for file in client.list_artifacts(done.info.run_id)] == ["confusion.png", "pets.keras"]


@pytest.mark.recipes
def test_wandb_writes_a_run_and_a_picture(run: Callable[[str], Names], monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    with mock.patch.object(wandb.Run, "log", autospec=True, side_effect=wandb.Run.log) as log:
        history = run("Weights & Biases")["clf"].history_
    rows = [call.args[1] for call in log.call_args_list]
    assert [row["loss"] for row in rows if "loss" in row] == history["loss"]
    assert list(Path("wandb").glob("offline-run-*/run-*.wandb"))
    assert list(Path("wandb").glob("offline-run-*/files/media/images/confusion*.png"))


@pytest.mark.recipes
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_gradio_answers_as_predict(run: Callable[[str], Names], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    gradio, client = pytest.importorskip("gradio"), pytest.importorskip("gradio_client")
    launch = functools.partialmethod(gradio.Interface.launch, prevent_thread_lock=True, quiet=True)
    monkeypatch.setattr(gradio.Interface, "launch", launch)
    names = run("Gradio")
    try:
        page = client.Client(names["demo"].local_url, verbose=False)
        for expected in names["clf"].predict("photos/new", verbose=0):
            answer = page.predict(client.handle_file(expected.path), api_name="/classify")
            assert answer["label"] == expected.label
            assert answer["confidences"][0]["confidence"] == pytest.approx(expected.confidence, abs=1e-5)
    finally:
        names["demo"].close()
        gc.collect()  # Gradio never closes its event loops


@pytest.mark.recipes
def test_cleanlab_finds_the_picture_in_the_wrong_folder(run: Callable[[str], Names]) -> None:
    pytest.importorskip("cleanlab")
    names = run("cleanlab")
    assert names["paths"][names["rows"][0]] == str(Path("photos/train/rings/wrong.png"))


@pytest.mark.recipes
def test_a_dataset_of_hugging_face_is_read(run: Callable[[str], Names], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", Path("datasets"))
    names = run("Hugging Face datasets")
    assert names["clf"].classes_.tolist() == ["checks", "rings", "stripes"]
    assert names["new"]["predicted"] == [p.label for p in names["clf"].predict("photos/new", verbose=0)]


@pytest.mark.docs
def test_the_csv_for_other_tools_begins_with_the_least_certain(run: Callable[[str], Names]) -> None:
    pandas = pytest.importorskip("pandas")
    run("FiftyOne and Label Studio")
    table = pandas.read_csv("predictions.csv")
    assert table["confidence"].is_monotonic_increasing
    assert all(Path(path).is_absolute() and Path(path).is_file() for path in table["path"])
