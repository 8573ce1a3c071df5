"""`strategy=`: training on several devices or processes gives the weights of one device, but for rounding.

TensorFlow divides a processor into devices only before its first computation, so each test has processes of its own.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import ROOT, fresh_python, refused

import transferkit as tk

TOLERANCE = 1e-6

# What the processes have in common: pictures of unequal classes, whose number no batch size divides, and a backbone with
# gamma, beta, dropout and regularizers.
SHARED = textwrap.dedent("""
    import json, os, sys
    import numpy as np
    import tensorflow as tf
    index = json.loads(os.environ.get("TF_CONFIG", "{}")).get("task", {}).get("index")
    if index is None:
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    else:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()  # before anything is computed
    import keras
    import transferkit as tk
    from drawing import drawn
    from networks import TINY, build_tiny

    def regularized(input_shape):
        model = build_tiny(input_shape)
        for layer in model.layers:
            if isinstance(layer, keras.layers.Conv2D):
                layer.kernel_regularizer = keras.regularizers.L2(0.05)
        return model

    tk.register_backbone(TINY)
    facts = {name: getattr(TINY, name) for name in ("preprocessing", "default_size", "min_size", "feature_dim", "stages")}
    tk.register_backbone(tk.Backbone("Regularized", builder=regularized, **facts))
    x, y = (array[:-2] for array in drawn(7, seed=3))
    if "several" in sys.argv:  # labels an image: two, one or none
        y = [[str(kind), "second"][: number % 3] for number, kind in enumerate(y)]

    def fitted(backbone="TinyNet", strategy=None, **options):
        clf = tk.TransferClassifier(backbone, weights=None, seed=0, **options)
        return clf.fit(x, y, validation=None, epochs=3, batch_size=7, verbose=0, strategy=strategy)

    def weights(clf):
        return [variable.numpy() for variable in clf.network_.variables if "seed" not in variable.path]

    def difference(one, other):
        return max(float(np.abs(a - b).max()) for a, b in zip(weights(one), weights(other), strict=True))
""")

TWO_DEVICES = textwrap.dedent("""
    one, two = fitted(), fitted(strategy=strategy)
    found = {"fit": difference(one, two), "accuracies": [clf.history_["accuracy"] for clf in (one, two)]}
    for clf, where in ((one, None), (two, strategy)):
        clf.fine_tune(at="stage1", steps=8, batch_size=5, class_weight="balanced", label_smoothing=0.2, validation=None,
                      strategy=where, verbose=0)
    found["fine_tune"], found["moved"] = difference(one, two), difference(one, fitted())
    found["kinds"] = sorted({type(variable.value).__name__ for variable in two.network_.variables})
    two.save("two.keras")
    same = tk.TransferClassifier.load("two.keras")
    found["loaded"] = bool((same.predict_proba(x, verbose=0) == two.predict_proba(x, verbose=0)).all())
    print(json.dumps(found))
""")


@pytest.mark.thorough
@pytest.mark.parametrize("labels", ["one", "several"])
def test_two_devices_give_the_weights_of_one(labels: str) -> None:
    found = json.loads(fresh_python(SHARED + TWO_DEVICES, labels))
    assert found["fit"] <= TOLERANCE
    assert found["accuracies"][0] == found["accuracies"][1]
    assert found["fine_tune"] <= TOLERANCE < 1e-3 < found["moved"]
    assert found["kinds"] == ["ResourceVariable"]  # of one device again
    assert found["loaded"]


CASES: dict[str, dict[str, Any]] = {
    "folds": {"steps": 8},
    "validation images": {"steps": 8, "validation": 0.3},
    "new changes in each epoch": {"options": {"augmentation": "light"}, "steps": 8, "validation": None},
    "views": {"options": {"augmentation": "light", "views": 2}, "steps": 8},
    "regularizers": {
        "options": {"backbone": "Regularized"},
        "at": 0,
        "epochs": 3,
        "learning_rate": 0.01,
        "validation": 0,
    },
    "fewer images than devices in the last batch": {"at": "stage1", "steps": 8, "batch_size": 6, "validation": None},
    "one image a batch": {"epochs": 1, "batch_size": 1, "validation": None},
}
ONE_CASE = textwrap.dedent("""
    case = json.loads(sys.argv[1])
    options = case.pop("options", {})
    def tuned(strategy):
        clf = fitted(**options)
        if case.get("validation") == 0.3:
            case["validation"] = drawn(3, seed=9)
        arguments = {"batch_size": 5, **case}
        return clf.fine_tune(**arguments, strategy=strategy, verbose=0)
    one, two = tuned(None), tuned(strategy)
    (a, b) = (clf.history_.phases[-1] for clf in (one, two))
    measured = all(np.allclose(a.metrics[name], b.metrics[name], atol=1e-6) for name in a.metrics)
    print(json.dumps([difference(one, two), measured, str(a.selection) == str(b.selection)]))
""")


@pytest.mark.slow
@pytest.mark.parametrize(("case", "labels"), [*((case, "one") for case in CASES), ("folds", "several")])
def test_what_is_chosen_and_recorded_is_the_same_too(case: str, labels: str) -> None:
    found = fresh_python(SHARED + ONE_CASE, json.dumps(CASES[case]), labels)
    difference, same_metrics, same_selection = json.loads(found)
    assert difference <= TOLERANCE
    assert same_metrics
    assert same_selection


KILLED = textwrap.dedent("""
    from transferkit.training import checkpoints
    given = {"at": "stage1", "steps": 8, "batch_size": 5, "verbose": 0, "strategy": strategy}
    whole, save = fitted().fine_tune(**given), checkpoints.Checkpoint.save
    def dying(self, state, now=False):
        save(self, state, True)
        raise KeyboardInterrupt
    checkpoints.Checkpoint.save = dying
    try:
        fitted().fine_tune(**given, resume="run")
    except KeyboardInterrupt:
        checkpoints.Checkpoint.save = save
    again = fitted().fine_tune(**given, resume="run")
    print(difference(whole, again))
""")


@pytest.mark.slow
def test_a_run_goes_on_after_a_kill() -> None:
    assert float(fresh_python(SHARED + KILLED)) <= TOLERANCE


# ---- several processes ----

WORKER = textwrap.dedent("""
    given = {"at": "stage1", "steps": 8, "batch_size": 5, "class_weight": "balanced", "verbose": 0}
    folder = f"run{index}"  # one that all see would be right
    clf = fitted(strategy=strategy).fine_tune(**given, strategy=strategy, resume=folder)
    np.savez(f"worker{index}.npz", *weights(clf))
    try:
        fitted(strategy=strategy).fine_tune(**given, strategy=strategy, resume=folder)  # where only the first has a state
    except tk.InvalidInputError as error:
        print(error)
    if index == 0:
        np.savez("one.npz", *weights(fitted().fine_tune(**given)))
    try:
        tk.TransferClassifier("TinyNet", weights=None).fit(x, y, strategy=strategy)
    except tk.InvalidInputError as error:
        print(error)
""")


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", SHARED + WORKER],
            env=environment
            | {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for index in range(2)
    ]
    try:
        said = [worker.communicate(timeout=300) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert all("has no seed" in output and "would wait for each other" in output for output, _ in said)
    one, *others = [np.load(tmp_path / f"{name}.npz") for name in ("one", "worker0", "worker1")]
    assert all(np.abs(one[name] - other[name]).max() <= TOLERANCE for other in others for name in one.files)
    assert list((tmp_path / "run0").iterdir())
    assert not list((tmp_path / "run1").iterdir())  # the first process writes


# ---- what is refused, and what needs none ----


@pytest.mark.parametrize("strategy", ["GPU:0", 2, object], ids=repr)
def test_a_strategy_is_one_of_tensorflow(make: Any, pictures: Any, strategy: Any) -> None:
    with refused(tk.InvalidInputError, "strategy", "tf.distribute.Strategy", "MirroredStrategy()"):
        make().fit(*pictures, strategy=strategy)


def test_strategies_without_copies_of_variables_are_refused(make: Any, pictures: Any) -> None:
    import tensorflow as tf

    class ParameterServerStrategyV9(tf.distribute.OneDeviceStrategy):  # type: ignore[misc]
        """A real one needs servers."""

    with refused(tk.InvalidInputError, "ParameterServerStrategyV9", "not supported", "copy of all variables"):
        make().fit(*pictures, strategy=ParameterServerStrategyV9("CPU:0"))


def test_a_head_that_is_solved_for_says_that_it_needs_none(make: Any, pictures: Any, capsys: Any) -> None:
    import tensorflow as tf

    clf, one = make(), tf.distribute.OneDeviceStrategy("CPU:0")
    clf.fit(*pictures, strategy=one)
    assert "The head is solved for on one device" in capsys.readouterr().out
    assert np.array_equal(clf.network_.get_weights()[-1], make().fit(*pictures, verbose=0).network_.get_weights()[-1])
