"""The forward pass: photos on disk against arrays in memory, against `Model.predict`, and what each measure brings.

    python benchmarks/forward.py [--backbone MobileNetV2] [--count 256] [--rounds 5]

Photos of cats_dogs where they are there, else noise (arrays only). Sides run in turns in this process; all of them
compute the pooled features of the same network, `clf.predict` its head as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sides import ASSETS, MOBILENET, in_turns, print_table, timed

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow

import transferkit as tk
from transferkit.decoding import load
from transferkit.features import Plan, compute
from transferkit.folding import compiled
from transferkit.frozen import THREADS, FrozenPart
from transferkit.images import ImageFiles
from transferkit.network import assemble


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--count", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    record = tk.get_backbone(asked.backbone)
    size = record.input_size(None)
    network = assemble(record, record.build(size), size, 2, 0.1, 0)
    model = network.features_model()
    part = FrozenPart(model, size, "benchmark")
    pool = ThreadPoolExecutor(THREADS)
    paths = tuple(sorted((ASSETS / "data" / "cats_dogs").glob("*/*/*.jpg"))[:: max(1, 1400 // asked.count)])[
        : asked.count
    ]
    files = ImageFiles(paths)
    if paths:
        images = np.stack([load(files, index, size) for index in range(len(files))])
    else:
        images = np.random.default_rng(0).uniform(0, 255, (asked.count, *size, 3)).astype(np.float32)
    count = len(images)
    unfolded = compiled(model, size, xla=False)

    def chunked(function: Callable[[Any], Any]) -> None:
        starts = range(0, count, part.chunk)
        list(pool.map(lambda start: function(images[start : start + part.chunk]), starts))

    def rate(work: Callable[[], Any]) -> Callable[[int], Mapping[str, float]]:
        return lambda _: {"images/s": count / timed(work)[0]}

    ours = f"arrays, folded, chunks of {part.chunk} on {THREADS} threads"
    sides = {
        "arrays, keras.Model.predict, batches of 32": rate(lambda: model.predict(images, batch_size=32, verbose=0)),
        "arrays, constants, batches of 32": rate(
            lambda: [unfolded(images[start : start + 32]) for start in range(0, count, 32)]
        ),
        f"arrays, constants, chunks of {part.chunk} on {THREADS} threads": rate(lambda: chunked(unfolded)),
        ours: rate(lambda: chunked(part)),
    }
    if paths:
        sides["photos on disk, the pass of fit"] = rate(lambda: compute(part, Plan(files), None, 0, ""))
        if asked.backbone == "MobileNetV2" and MOBILENET.exists():
            clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, cache=False, seed=0)
            clf.fit(images[:40], ["a", "b"] * 20, epochs=1, validation=None, verbose=0)
            sides["photos on disk, clf.predict"] = rate(lambda: clf.predict(list(paths), verbose=0))
    print(f"{record.name} at {size[0]} px, {count} images, {asked.rounds} rounds after one that compiles")
    print_table(in_turns(sides, asked.rounds, warm_up=True), ours, "images/s")
    print("  ratio: how many times as many images a second the folded network computes from arrays")


if __name__ == "__main__":
    main()
