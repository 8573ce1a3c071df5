"""The verbs in any order: what each leaves behind, also when it fails or is stopped with Ctrl-C."""

from __future__ import annotations

import copy
import functools
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from drawing import drawn
from helpers import refused, steady
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import transferkit as tk
from transferkit.network.extractor import FeatureExtractor
from transferkit.saving import writing
from transferkit.training import tuning
from transferkit.training.head import HeadSolver

IMAGES, LABELS = drawn(4, seed=3)
TWO = LABELS != "red"
DATA = {3: (IMAGES, LABELS), 2: (IMAGES[TWO], LABELS[TWO])}
SHORT: dict[str, Any] = {"at": "stage2", "epochs": 1, "learning_rate": 1e-3, "validation": 0, "verbose": 0}
# A rate that goes beyond all bounds after the first step.
JUMP = keras.optimizers.schedules.PiecewiseConstantDecay([1], [1e-3, 1e30])
VERBS: dict[str, Callable[[tk.TransferClassifier], object]] = {
    "predict": lambda clf: clf.predict(IMAGES),
    "evaluate": lambda clf: clf.evaluate(IMAGES, LABELS),
    "explain": lambda clf: clf.explain(IMAGES),
    "fine_tune": lambda clf: clf.fine_tune(IMAGES, LABELS),
    "save": lambda clf: clf.save("pets.keras"),
    "summary": lambda clf: clf.summary(),
    "card": lambda clf: clf.card(),
}


@pytest.fixture(autouse=True)
def _listens_to_ctrl_c() -> Iterator[None]:
    """A process that a shell starts in the background ignores SIGINT, and so do the tests in it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def new() -> tk.TransferClassifier:
    return tk.TransferClassifier("TinyNet", weights=None, seed=0, cache=False)


def weights(clf: tk.TransferClassifier) -> list[Any]:
    return list(clf.network_.get_weights())


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@functools.cache
def fitted_anew(n_classes: int) -> list[Any]:
    """The weights of a classifier that was fitted once."""
    return weights(new().fit(*DATA[n_classes], verbose=0))


class Verbs(RuleBasedStateMachine):
    """A classifier, and what is known of it: its phases, the number of its classes, its weights and answers."""

    def __init__(self) -> None:
        super().__init__()
        self.clf, self.n_classes = new(), 0
        self.phases: list[str] = []
        self.weights: list[Any] = []
        self.has_images = False

    def note(self) -> None:
        self.weights = weights(self.clf)
        self.answers = self.clf.predict_proba(IMAGES, verbose=0)

    def fit(self, n_classes: int) -> None:
        self.clf.fit(*DATA[n_classes], verbose=0)
        self.phases, self.n_classes, self.has_images = ["fit"], n_classes, True
        self.note()
        assert same(self.weights, fitted_anew(n_classes)), "fit starts anew"

    @rule()
    def fit_three_classes(self) -> None:
        self.fit(3)

    @rule()
    def fit_two_classes(self) -> None:
        self.fit(2)

    @precondition(lambda self: self.has_images and len(self.phases) < 4)
    @rule()
    def fine_tune(self) -> None:
        before = self.weights
        self.clf.fine_tune(**SHORT)
        self.phases.append("fine_tune")
        self.note()
        assert not same(self.weights, before), "fine_tune goes on"

    @precondition(lambda self: self.phases)
    @rule()
    def fine_tune_on_data(self) -> None:
        self.clf.fine_tune(*DATA[self.n_classes], **SHORT)
        self.phases.append("fine_tune")
        self.note()

    @precondition(lambda self: self.phases and not self.has_images)
    @rule()
    def fine_tune_without_images(self) -> None:
        with refused(tk.InvalidInputError, "loaded or copied"):
            self.clf.fine_tune(**SHORT)

    @precondition(lambda self: self.n_classes == 2)
    @rule()
    def fine_tune_with_an_unknown_class(self) -> None:
        with refused(tk.InvalidInputError, "'red'"):
            self.clf.fine_tune(*DATA[3], **SHORT)

    @rule()
    def fit_on_bad_data(self) -> None:
        with refused(tk.InvalidInputError):
            self.clf.fit(IMAGES, LABELS[:3], verbose=0)

    @rule()
    def fit_that_diverges(self) -> None:
        with refused(tk.TrainingError):
            self.clf.fit(*DATA[3], epochs=3, batch_size=4, learning_rate=JUMP, validation=0, verbose=0)

    @precondition(lambda self: self.has_images)
    @rule()
    def fine_tune_that_diverges(self) -> None:
        with refused(tk.TrainingError):
            self.clf.fine_tune(**{**SHORT, "epochs": 3, "learning_rate": JUMP, "batch_size": 4})

    @rule()
    def other_arguments(self) -> None:
        self.clf.set_params(dropout=0.1 if self.clf.dropout else 0.0)

    @rule()
    def copied(self) -> None:
        self.clf, self.has_images = copy.deepcopy(self.clf), False

    @precondition(lambda self: self.phases)
    @rule()
    def saved_and_loaded(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.clf.save(path := Path(folder, "pets.keras"))
            self.clf = tk.TransferClassifier.load(path).set_params(cache=False, weights=None)
        self.has_images = False

    @invariant()
    def it_is_what_is_known(self) -> None:
        if not self.phases:
            for verb, call in VERBS.items():
                with refused(tk.NotFittedError, f"{verb} needs a fitted classifier"):
                    call(self.clf)
            return
        assert [phase.name for phase in self.clf.history_.phases] == self.phases
        assert self.clf.classes_.tolist() == sorted(set(DATA[self.n_classes][1].tolist()))
        assert same(weights(self.clf), self.weights)
        np.testing.assert_array_equal(self.clf.predict_proba(IMAGES, verbose=0), self.answers)


class TestVerbs(Verbs.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(steady, max_examples=4, stateful_step_count=8)


# ---- Ctrl-C ----


def interrupting(original: Callable[..., Any], call: int = 1) -> Callable[..., Any]:
    """A function that gets Ctrl-C in one of its calls, on whatever thread."""
    count = iter(range(1, 1000))

    def interrupted(*given: Any, **options: Any) -> Any:
        if next(count) == call:
            signal.raise_signal(signal.SIGINT)
        return original(*given, **options)

    return interrupted


FIT: tuple[str, tuple[Any, ...], dict[str, Any]] = "fit", (IMAGES, LABELS), {}
FINE_TUNE: tuple[str, tuple[Any, ...], dict[str, Any]] = "fine_tune", (), {"steps": 4}
MOMENTS: dict[str, tuple[Any, Any, str, int]] = {
    "extraction of fit": (FIT, FeatureExtractor, "__call__", 2),
    "solving for the head": (FIT, HeadSolver, "head", 2),
    "extraction of fine_tune": (FINE_TUNE, FeatureExtractor, "__call__", 2),
    "a fold of fine_tune": (FINE_TUNE, tuning, "train", 2),
    "the last run of fine_tune": (FINE_TUNE, tuning, "select", 1),
}


@pytest.mark.thorough
@pytest.mark.parametrize(("moment", "resume"), list(zip(MOMENTS, [None, "run", None, "run", None], strict=True)))
def test_ctrl_c_leaves_the_classifier_and_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], moment: str, resume: str | None
) -> None:
    clf = new().fit(*DATA[2], verbose=0)
    before, answers, report = weights(clf), clf.predict_proba(IMAGES, verbose=0), clf.report_
    (verb, data, options), place, name, call = MOMENTS[moment]
    with monkeypatch.context() as patch:
        patch.setattr(place, name, interrupting(getattr(place, name), call))
        with pytest.raises(KeyboardInterrupt):
            getattr(clf, verb)(*data, **options, resume=resume)
    last = capsys.readouterr().out.splitlines()[-1]
    assert f"{verb} was stopped: the classifier is as it was before the call. " in last
    assert ("The same call continues from the state in 'run'." if resume else "With resume=FOLDER,") in last
    assert same(weights(clf), before)
    assert clf.report_ is report and clf.classes_.tolist() == ["lying", "standing"]
    np.testing.assert_array_equal(clf.predict_proba(IMAGES, verbose=0), answers)


def test_ctrl_c_in_the_first_fit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    original = HeadSolver.head
    monkeypatch.setattr(HeadSolver, "head", interrupting(original))
    clf = new()
    for verbose in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            clf.fit(IMAGES, LABELS, verbose=verbose)
        monkeypatch.setattr(HeadSolver, "head", interrupting(original))
        assert ("fit was stopped: the classifier is not fitted." in capsys.readouterr().out) == bool(verbose)
    with refused(tk.NotFittedError):
        clf.predict(IMAGES)


def test_ctrl_c_while_saving_leaves_the_old_file(
    monkeypatch: pytest.MonkeyPatch, loaded: tk.TransferClassifier, saved_file: Path
) -> None:
    before = saved_file.read_bytes()
    for name in ("_save_model", "add_members", "seal"):
        with monkeypatch.context() as patch:
            patch.setattr(writing, name, interrupting(getattr(writing, name)))
            with pytest.raises(KeyboardInterrupt):
                loaded.save(saved_file)
        assert saved_file.read_bytes() == before
        assert [path.name for path in saved_file.parent.iterdir()] == [saved_file.name]


@pytest.mark.thorough
def test_a_second_ctrl_c_does_not_wait_for_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    clf = new().fit(*DATA[2], verbose=0)
    begun, leave = threading.Event(), threading.Event()
    original = FeatureExtractor.__call__

    def stuck(part: FeatureExtractor, images: Any) -> Any:
        begun.set()
        leave.wait(30)
        return original(part, images)

    def press_twice() -> None:
        begun.wait(60)
        for _ in range(2):
            time.sleep(1)
            signal.pthread_kill(main, signal.SIGINT)

    main = threading.get_ident()
    monkeypatch.setattr(FeatureExtractor, "__call__", stuck)
    pressing = threading.Thread(target=press_twice)
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        clf.predict(IMAGES, verbose=0)
    assert not leave.is_set()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("transferkit-decode")], "it waited"
    leave.set()
    pressing.join()
    monkeypatch.undo()
    assert len(clf.predict(IMAGES, verbose=0)) == len(IMAGES)
