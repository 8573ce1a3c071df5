"""`fine_tune` against two well-known recipes, from the same head, on the same photos, for the same time: test accuracy.

    python benchmarks/recipes.py [--data flowers_large] [--photos 500] [--seconds 0]

- `transferkit`: `fine_tune()` without arguments; all of its time counts, its selection included.
- `guide`: what the Keras guides show: all layers trained by Adam at 1e-5, BatchNormalization fixed.
- `cycle`: fastai's `fine_tune` as its source has it: the head alone for one epoch at 2e-3, then all layers in one cycle whose
  highest rate rises from 1e-5 in the first third of the layers to 1e-3 in the head; BatchNormalization is trained.

The two others get the seconds that `fine_tune` took, or those that are given, as whole epochs, through plain Keras.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

from sides import MOBILENET, folder_of, timed

import keras  # isort: skip  # after sides, which quiets TensorFlow
import numpy as np

import transferkit as tk
from transferkit.training.optimizer import LayerwiseAdam

RATES = 1e-5, 1e-4, 1e-3  # of the thirds of the layers


def layers_of(model: keras.Model) -> list[Any]:
    """All layers with weights, from the image to the head."""
    return [layer for layer in model._flatten_layers() if layer.weights and not isinstance(layer, keras.Model)]


def unfreeze(model: keras.Model, fixed: bool) -> None:
    for layer in model._flatten_layers():
        layer.trainable = True
    for layer in layers_of(model):
        layer.trainable = not (fixed and isinstance(layer, keras.layers.BatchNormalization))


def trained(model: keras.Model, optimizer: Any, x: Any, y: Any, epochs: int) -> float:
    """The seconds that it takes."""
    model.compile(optimizer, "sparse_categorical_crossentropy")
    seconds, _ = timed(lambda: model.fit(x, y, batch_size=32, epochs=epochs, verbose=0))
    return seconds


def guide(model: keras.Model, x: Any, y: Any, seconds: float) -> int:
    unfreeze(model, fixed=True)
    trained(model, keras.optimizers.Adam(1e-5), x[:64], y[:64], 1)  # compiles
    epochs = max(1, round(seconds / trained(model, keras.optimizers.Adam(1e-5), x, y, 1)))
    trained(model, keras.optimizers.Adam(1e-5), x, y, epochs - 1) if epochs > 1 else None
    return epochs


def cycle(model: keras.Model, x: Any, y: Any, seconds: float) -> int:
    model.trainable = False
    head = layers_of(model)[-1]
    head.trainable = model.trainable = True
    for layer in layers_of(model)[:-1]:
        layer.trainable = False
    seconds -= trained(model, keras.optimizers.Adam(2e-3), x, y, 1)
    after_head = model.get_weights()
    unfreeze(model, fixed=False)
    of_epoch = trained(model, keras.optimizers.Adam(1e-5), x, y, 1)  # to know how many there is time for
    model.set_weights(after_head)
    epochs = max(1, round(seconds / of_epoch))
    steps = epochs * -(-len(x) // 32)
    warm_up = max(1, steps // 4)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=1e-3, warmup_steps=warm_up
    )
    layers = layers_of(model)
    group = {id(v): min(2, 3 * n // len(layers)) for n, layer in enumerate(layers) for v in layer.trainable_variables}
    factors = [RATES[group[id(variable)]] / RATES[-1] for variable in model.trainable_variables]
    trained(model, LayerwiseAdam(schedule, factors), x, y, epochs)
    return epochs + 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="flowers_large")
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=0.0)
    asked = parser.parse_args()
    folder = folder_of(asked.data)
    paths = sorted((folder / "train").rglob("*.*"))
    paths = [paths[i] for i in np.random.default_rng(0).permutation(len(paths))[: asked.photos]]
    labels = [path.parent.name for path in paths]
    clf = tk.TransferClassifier("MobileNetV2", weights=MOBILENET, seed=0).fit(paths, labels, verbose=0)
    print(f"{asked.data}, {len(paths)} photos, MobileNetV2 at 224 px; head alone {clf.score(folder / 'test'):.4f}")
    tuned = copy.deepcopy(clf)
    spent, _ = timed(lambda: tuned.fine_tune(paths, labels, verbose=0))
    seconds = asked.seconds or spent
    print(
        f"  transferkit  {spent:5.0f} s  {tuned.score(folder / 'test'):.4f}  ({tuned.history_.phases[-1].selection})",
        flush=True,
    )
    x = np.stack([keras.utils.img_to_array(keras.utils.load_img(path, target_size=(224, 224))) for path in paths])
    y = np.searchsorted(clf.classes_, labels)
    for recipe in (guide, cycle):
        other = copy.deepcopy(clf)
        spent, epochs = timed(lambda: recipe(other.network_, x, y, seconds))  # noqa: B023
        print(
            f"  {recipe.__name__:11}  {spent:5.0f} s  {other.score(folder / 'test'):.4f}  ({epochs} epochs)", flush=True
        )


if __name__ == "__main__":
    main()
