"""Files of each format version that this release promises to read, kept as they were written.

If this fails since the format changed, raise `FORMAT_VERSION`, decide whether the versions before are still read, and
write the golden file of the new one with ``python tests/golden/write.py``.
"""

from __future__ import annotations

import numpy as np
import pytest
from drawing import drawn
from helpers import ROOT

import transferkit as tk
from transferkit.saving import FORMAT_VERSION

GOLDEN = ROOT / "tests" / "golden"
READ = [FORMAT_VERSION]  # before 1.0, only the present version


@pytest.mark.parametrize("version", READ)
def test_a_file_of_this_version_gives_the_probabilities_that_it_gave(version: int) -> None:
    clf = tk.TransferClassifier.load(GOLDEN / f"format_{version}.keras")
    expected = np.load(GOLDEN / f"format_{version}.npy", allow_pickle=False)
    assert clf.predict_proba(drawn(2, seed=2)[0], verbose=0) == pytest.approx(expected, abs=1e-4)
    assert clf.classes_.tolist() == ["lying", "red", "standing"]
    assert [phase.name for phase in clf.history_.phases] == ["fit", "fine_tune"]


def test_each_version_that_is_read_has_a_file_and_no_other_is_kept() -> None:
    assert sorted(path.name for path in GOLDEN.glob("*.keras")) == [f"format_{version}.keras" for version in READ]


def test_a_golden_file_is_small() -> None:
    assert all(path.stat().st_size < 300_000 for path in GOLDEN.iterdir())
