"""What a linear probe on a student's features gives, by cross-validation on training photos alone.

    python training/probe.py FOLDER/run/student.pt DATA [DATA ...]

DATA are folders with one folder per class: the train folders of the data sets. Choices are made by this figure, so
that the test photos are left for the last word (benchmarks/tiny.py).
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from augmentation import plain
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from student import Student

from transferkit.backbones.tiny import TINY

STRENGTHS = (1e-4, 1e-3, 1e-2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", type=Path, nargs="+")
    asked = parser.parse_args()
    student = Student(**TINY.options)
    student.load_state_dict(torch.load(asked.weights, weights_only=True))
    student.eval()
    figures = {folder.parent.name: accuracy(student, *photos_of(folder)) for folder in asked.data}
    print("   ".join(f"{name} {figure:.3f}" for name, figure in figures.items()))


def photos_of(folder: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_]]:
    """As the classifier sees them: decoded and sized by the library."""
    from transferkit.images.decoding import load
    from transferkit.images.images import Images

    files = Images(sorted(folder.glob("*/*")))
    pixels = np.stack([load(files, number, (96, 96)) for number in range(len(files))])
    return np.rint(pixels).astype(np.uint8), np.array([path.parent.name for path in files.files])


@torch.no_grad()
def accuracy(student: Student, photos: npt.NDArray[np.uint8], labels: npt.NDArray[np.str_]) -> float:
    """Of logistic regression on standardized features, five folds, with the best of a few strengths."""
    batches = [plain(torch.from_numpy(photos[start : start + 250]), 96) for start in range(0, len(photos), 250)]
    features = torch.cat([student(batch) for batch in batches]).numpy()
    scores = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for strength in STRENGTHS:
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))
            scores.append(float(np.mean(cross_val_score(probe, features, labels, cv=5))))
    return max(scores)


if __name__ == "__main__":
    main()
