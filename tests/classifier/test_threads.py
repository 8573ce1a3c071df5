"""Many threads share one classifier: every answer is right, whatever another thread trains in the meantime."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from drawing import drawn

import transferkit as tk

THREADS, CALLS, BATCH = 8, 100, 3
IMAGES, LABELS = drawn(8, seed=3)


def new() -> tk.TransferClassifier:
    return tk.TransferClassifier("TransferKitTiny", input_size=32, seed=0, cache=False)


def trained_forever(stop: threading.Event, *others: tk.TransferClassifier) -> int:
    """Fits and tunes classifiers in turn until it is stopped; how often."""
    count = 0
    while not stop.is_set():
        for other in others:
            other.fit(IMAGES, LABELS, verbose=0)
            other.fine_tune(at="block_7", steps=3, validation=0, verbose=0)
            count += 1
    return count


def asked(clf: tk.TransferClassifier, calls: int, first: int) -> list[tuple[int, Any]]:
    """The answers of one thread, and which images they are for."""
    starts = [(first + call) % (len(IMAGES) - BATCH) for call in range(calls)]
    return [(start, clf.predict_proba(IMAGES[start : start + BATCH], verbose=0)) for start in starts]


@pytest.mark.thorough
@pytest.mark.parametrize("calls", [3, pytest.param(CALLS, marks=pytest.mark.slow)])
def test_eight_threads_predict_while_another_one_trains(calls: int) -> None:
    clf = new().fit(IMAGES, LABELS, verbose=0)
    expected, stop = clf.predict_proba(IMAGES, verbose=0), threading.Event()
    with ThreadPoolExecutor(THREADS + 1) as pool:
        training = pool.submit(trained_forever, stop, new())
        try:
            answers = list(pool.map(lambda first: asked(clf, calls, first), range(THREADS)))
        finally:
            stop.set()
        assert training.result() > 0
    wrong = [
        start
        for of_thread in answers
        for start, found in of_thread
        if not np.array_equal(found, expected[start : start + BATCH])
    ]
    assert sum(map(len, answers)) == THREADS * calls
    assert wrong == []


@pytest.mark.thorough
@pytest.mark.parametrize("calls", [3, pytest.param(CALLS, marks=pytest.mark.slow)])
def test_answers_are_of_one_state_of_a_classifier_that_another_thread_trains(calls: int) -> None:
    """The network before or the one after, never one in between."""
    clf = new().fit(IMAGES, LABELS, verbose=0)
    states = [clf.predict_proba(IMAGES, verbose=0)]
    with ThreadPoolExecutor(THREADS) as pool:
        asking = [pool.submit(asked, clf, calls, first) for first in range(THREADS)]
        while not all(future.done() for future in asking):
            clf.fine_tune(at="block_7", epochs=1, learning_rate=1e-2, validation=0, verbose=0)
            states.append(clf.predict_proba(IMAGES, verbose=0))
        answers = [answer for future in asking for answer in future.result()]
    assert len(states) > 1
    for start, found in answers:
        assert any(np.array_equal(found, state[start : start + BATCH]) for state in states)


@pytest.mark.slow
def test_what_threads_train_at_once_is_what_one_trains_alone() -> None:
    def trained(number: int) -> list[Any]:
        clf = new().set_params(seed=number % 2)
        clf.fit(IMAGES, LABELS, epochs=2, verbose=0)
        clf.fine_tune(at="block_7", steps=3, validation=0, verbose=0)
        return list(clf.network_.get_weights())

    alone = [trained(number) for number in range(2)]
    with ThreadPoolExecutor(4) as pool:
        for number, weights in enumerate(pool.map(trained, range(4))):
            assert all(map(np.array_equal, weights, alone[number % 2]))
