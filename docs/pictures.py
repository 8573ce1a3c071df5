"""Draws the pictures of the documentation, of shapes that examples/quickstart.py draws. The build of the docs runs it."""

from __future__ import annotations

import runpy
import tempfile
from pathlib import Path

import transferkit as tk

QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart.py"


def draw(folder: Path) -> None:
    """What a classifier makes of shapes when it was trained on ten of each kind, so that there are mistakes to show."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as shapes:
        runpy.run_path(str(QUICKSTART))["draw_shapes"](Path(shapes))
        paths = sorted(Path(shapes).glob("*/*"))
        train, test = paths[::10], [path for number, path in enumerate(paths) if number % 10]
        labels, truth = ([path.parent.name for path in part] for part in (train, test))
        clf = tk.TransferClassifier("TransferKitTiny", cache=False, seed=0).fit(train, labels, verbose=0)
        evaluation = clf.evaluate(test, truth, verbose=0)
        evaluation.plot_confusion_matrix().savefig(folder / "confusion.svg")
        evaluation.plot_calibration().savefig(folder / "calibration.svg")
        evaluation.plot_top_losses(4).savefig(folder / "losses.png")
        clf.coverage(test, truth, verbose=0).plot().savefig(folder / "coverage.svg")
        clf.explain([test[number] for number in (0, 160, 240, 400)], verbose=0).plot().savefig(
            folder / "explanations.png"
        )
        some = paths[::3]
        names = [path.parent.name for path in some]
        sizes = [32, 48, 64]
        comparison = tk.compare(some, names, backbones="TransferKitTiny", sizes=sizes, cache=False, verbose=0)
        comparison.plot().savefig(folder / "comparison.svg")
