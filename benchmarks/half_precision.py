"""Fine-tuning on activations stored in float16 against float32: accuracy and loss.

    python benchmarks/half_precision.py [--seeds 3]

Both fine-tune the same classifier from the same cut, at a rate high enough to change it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from sides import MOBILENET, folder_of, in_turns, print_table, timed

import transferkit as tk
from transferkit.training import inputs


def fine_tuned(data: str, at: str, half: bool, seed: int) -> Mapping[str, float]:
    inputs.is_kept = lambda *given, wanted=half: (len(given) > 4 and given[4]) is wanted
    folder = folder_of(data)
    clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, seed=seed)
    clf.fit(folder / "train", verbose=0)
    seconds, _ = timed(lambda: clf.fine_tune(at=at, epochs=5, learning_rate=5e-5, verbose=0))
    result = clf.evaluate(folder / "test", verbose=0)
    return {"seconds": seconds, "accuracy": result.accuracy, "loss": result.loss}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    for data, at in (("flowers", "block_13"), ("flowers", "block_6")):
        print(f"{data}, MobileNetV2, fine-tuned from {at}")
        sides = {
            "float32": lambda seed, d=data, a=at: fine_tuned(d, a, False, seed),
            "float16": lambda seed, d=data, a=at: fine_tuned(d, a, True, seed),
        }
        print_table(in_turns(sides, asked.seeds), "float16")


if __name__ == "__main__":
    main()
