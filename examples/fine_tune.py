"""Solve for a head, fine-tune the later layers of the backbone, and show what fine-tuning gained.

    python examples/fine_tune.py photos/train --test photos/test
    python examples/fine_tune.py photos/train --at block_15

Both classifiers are compared on images that were not trained on; with --test, also on those in another folder.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # set before the import: no message about missing GPUs

import transferkit as tk


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare a classifier before and after fine-tuning.")
    parser.add_argument("folder", type=Path, help="holds one folder per class")
    parser.add_argument("--at", help="the first stage or layer to train; without it, fine_tune chooses")
    parser.add_argument("--weights", default="pretrained", help="a weights file of MobileNetV2, instead of a download")
    parser.add_argument("--test", type=Path, help="a folder like the first, with photos that are not used for training")
    parser.add_argument("--output", type=Path, default=Path("transferkit-fine-tuned.keras"), metavar="FILE.keras")
    args = parser.parse_args(arguments)

    clf = tk.TransferClassifier("MobileNetV2", weights=args.weights, seed=0)
    clf.fit(args.folder)
    before = clf.evaluate(args.test) if args.test else None
    clf.fine_tune(at=args.at)
    after = clf.evaluate(args.test) if args.test else None

    print(f"\n{clf.history_}\n\n{clf.history_.phases[-1].selection}\n")
    if before is not None and after is not None:
        print(f"{'':<12}  accuracy    loss")
        print(f"{'fit':<12}  {before.accuracy:8.4f}  {before.loss:6.4f}")
        print(f"{'fine_tune':<12}  {after.accuracy:8.4f}  {after.loss:6.4f}")
    clf.save(args.output)
    print(f"\nSaved as {args.output.resolve()}")


if __name__ == "__main__":
    main()
