"""Draw the figures of the README as `docs/measured.svg`. It measures nothing: copy new figures into the table below.

python benchmarks/chart.py [FILE.svg]
"""

from __future__ import annotations

import sys
from pathlib import Path

MACHINE = "2 cores of an AMD EPYC machine, no GPU"
DATE = "23 and 24 November 2026"
# title -> the bars; the programs are peers.py, fine_tune_vs_keras.py and forward.py.
PANELS: dict[str, dict[str, float]] = {
    "fit, 5 epochs: seconds": {"transferkit": 9.9, "plain Keras": 63.5},
    "fine_tune, 10 epochs: seconds": {"transferkit": 47.5, "plain Keras": 188.6},
    "predict: images per second": {"transferkit, from disk": 162, "plain Keras, from memory": 90},
}
TARGET = Path(__file__).parents[1] / "docs" / "measured.svg"
OURS, OTHERS, TEXT = "#3b82c4", "#9aa3ad", "#768390"  # readable on white and on black


def main(target: Path = TARGET) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "transferkit",  # the same figures give the same file
            "font.family": "sans-serif",
            "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans"],
            "font.size": 11,
            "text.color": TEXT,
            "ytick.color": TEXT,
        }
    )
    rows = [len(bars) for bars in PANELS.values()]
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    for axes, (title, bars) in zip(figure.subplots(len(rows), height_ratios=rows), PANELS.items(), strict=True):
        colours = [OURS if name.startswith("transferkit") else OTHERS for name in bars]
        drawn = axes.barh(list(bars), list(bars.values()), color=colours, height=0.7)
        axes.bar_label(drawn, labels=list(map(str, bars.values())), padding=4)
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold")
        axes.set_xlim(0, 1.1 * max(bars.values()))
        axes.invert_yaxis()
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    figure.align_ylabels()
    figure.supxlabel(f"MobileNetV2 at 224 px, {MACHINE}, {DATE}", fontsize=9)
    figure.savefig(target, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
