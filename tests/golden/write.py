"""Writes the golden file of the present format: ``python tests/golden/write.py``, once for each new format version.

TinyNet stands in for a real backbone, since its file is small. The file that was written is never written again:
test_golden.py shows that it still loads, and gives the same probabilities.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from drawing import drawn
from networks import TINY

import transferkit as tk
from transferkit.saving import FORMAT_VERSION

HERE = Path(__file__).parent


def main() -> None:
    images, labels = drawn(6, seed=1)
    clf = tk.TransferClassifier(TINY, weights=None, cache=False, seed=0).fit(images, labels, verbose=0)
    clf.fine_tune(at="stage2", steps=2, verbose=0)
    name = f"format_{FORMAT_VERSION}"
    clf.save(HERE / f"{name}.keras")
    np.save(HERE / f"{name}.npy", clf.predict_proba(drawn(2, seed=2)[0], verbose=0))


if __name__ == "__main__":
    main()
