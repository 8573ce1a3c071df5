"""The forward pass in float32 and bfloat16: photos on disk and arrays in memory, against `Model.predict`.

    python benchmarks/forward.py [--backbone MobileNetV2] [--count 256] [--rounds 5]

Uses the photos of cats_dogs, or noise (arrays only) if there are none. The variants run in turns in this process. All of
them compute the pooled features of the same network; `clf.predict` also computes the head.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sides import ASSETS, MOBILENET, in_turns, print_table, timed

import numpy as np  # isort: skip  # after sides, which quiets TensorFlow

import transferkit as tk
from transferkit._common.console import Console
from transferkit.features.extraction import Plan, Storage, extract
from transferkit.images.decoding import Resizing, load
from transferkit.images.images import Images
from transferkit.network import extractor as frozen
from transferkit.network.extractor import FeatureExtractor, thread_count
from transferkit.network.network import assemble
from transferkit.network.precision import has_fast_half


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
    precisions = ("float32", "bfloat16") if has_fast_half() else ("float32",)
    parts = {precision: FeatureExtractor(model, size, "benchmark", precision) for precision in precisions}
    chunk = parts["float32"].chunk
    pool = ThreadPoolExecutor(thread_count())
    paths = sorted(map(str, (ASSETS / "data" / "cats_dogs").glob("*/*/*.jpg")))[:: max(1, 1400 // asked.count)]
    files = Images(paths[: asked.count])
    if paths:
        images = np.stack([load(files, index, Resizing(size)) for index in range(len(files))])
    else:
        images = np.random.default_rng(0).uniform(0, 255, (asked.count, *size, 3)).astype(np.float32)
    count = len(images)
    plain = unfolded(model, size)

    def chunked(function: Callable[[Any], Any]) -> None:
        starts = range(0, count, chunk)
        list(pool.map(lambda start: function(images[start : start + chunk]), starts))

    def rate(work: Callable[[], Any]) -> Callable[[int], Mapping[str, float]]:
        return lambda _: {"images/s": count / timed(work)[0]}

    sides = {
        "arrays, keras.Model.predict, batches of 32": rate(lambda: model.predict(images, batch_size=32, verbose=0)),
        "arrays, float32, constants, batches of 32": rate(
            lambda: [parts["float32"](images[start : start + 32]) for start in range(0, count, 32)]
        ),
        f"arrays, float32, not folded, chunks of {chunk}": rate(lambda: chunked(plain["float32"])),
    }
    for precision, part in parts.items():
        if precision == "bfloat16":
            sides[f"arrays, bfloat16, not folded, chunks of {chunk}"] = rate(lambda: chunked(plain["bfloat16"]))
        sides[f"arrays, {precision}, chunks of {chunk}"] = rate(lambda part=part: chunked(part))
        if paths:
            sides[f"photos on disk, {precision}, feature extraction of fit"] = rate(
                lambda part=part: extract(part, Plan(files), Storage(None), Console(0), "")
            )
    if paths and asked.backbone == "MobileNetV2" and MOBILENET.exists():
        clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, cache=False, seed=0)
        clf.fit(images[:40], ["a", "b"] * 20, epochs=1, validation=None, verbose=0)
        sides["photos on disk, float32, clf.predict"] = rate(lambda: clf.predict(list(paths), verbose=0))
    print(
        f"{record.name} at {size[0]} px, {count} images, {thread_count()} threads, {asked.rounds} rounds after a first one"
    )
    print_table(in_turns(sides, asked.rounds, warm_up=True), f"arrays, float32, chunks of {chunk}", "images/s")
    if "bfloat16" in parts:
        exact, plainly = parts["float32"](images[:64])[0], nearest(model, size)(images[:64])[0]
        for name, half in (
            ("as it is", parts["bfloat16"](images[:64])[0]),
            ("with kernels rounded to the nearest", plainly),
        ):
            print(
                f"  bfloat16, {name}: features off by {np.linalg.norm(half - exact) / np.linalg.norm(exact):.1%} in norm"
            )
    print("  ratio: images a second of float32 in chunks, divided by the images a second of the side")


def unfolded(model: Any, size: tuple[int, int]) -> dict[str, frozen.Forward]:
    """The same functions, without folding normalizations into convolutions."""
    found, frozen._foldable = frozen._foldable, lambda _: iter(())
    try:
        return {"float32": frozen.compiled(model, size)[0], "bfloat16": frozen.compiled(model, size, half=True)[0]}
    finally:
        frozen._foldable = found


def nearest(model: Any, size: tuple[int, int]) -> frozen.Forward:
    """The bfloat16 function, without the rounding that preserves the sums of depthwise kernels."""
    found, frozen._round_depthwise = frozen._round_depthwise, lambda *_: None
    try:
        return frozen.compiled(model, size, half=True)[0]
    finally:
        frozen._round_depthwise = found


if __name__ == "__main__":
    main()
