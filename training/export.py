"""Put a trained student into the package, and compare the two.

    python training/export.py FOLDER/run/student.pt [--target src/transferkit/backbones/tiny.weights.h5]

Kernels become float16, which halves the file; the few numbers of the normalizations stay float32. The features that
Keras computes from the file are compared with those of PyTorch, for noise of two sizes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import torch
from student import Student

from transferkit.backbones.tiny import TINY

# float16 has 11 bits, and each of some twenty layers adds its share.
TOLERANCE = 0.02
TARGET = Path(__file__).parents[1] / "src" / "transferkit" / "backbones" / "tiny.weights.h5"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--target", type=Path, default=TARGET)
    asked = parser.parse_args()
    student = Student(**TINY.options)
    student.load_state_dict(torch.load(asked.weights, weights_only=True))
    model = TINY.build((TINY.default_size, TINY.default_size))
    fill(model, student)
    unfinished = asked.target.with_name("unfinished.weights.h5")
    write(model, unfinished)
    print(f"{unfinished.stat().st_size:,} bytes, {model.count_params():,} parameters")
    for size in ((96, 96), (75, 110)):
        found = difference(student, unfinished, size)
        print(f"{size}: largest difference of a feature, by the spread of all: {found:.2g}")
        if not found < TOLERANCE:  # NaN too
            raise SystemExit(f"That is more than {TOLERANCE}: see {unfinished}; {asked.target} is as it was.")
    unfinished.replace(asked.target)


def fill(model: keras.Model, student: Student) -> None:
    for name, (conv, norm) in student.layers.items():
        model.get_layer(f"{name}_conv").set_weights([conv.weight.detach().permute(2, 3, 1, 0).numpy()])
        numbers = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
        model.get_layer(f"{name}_norm").set_weights([number.detach().numpy() for number in numbers])


def write(model: keras.Model, target: Path) -> None:
    """As `save_weights` does, with kernels of float16, in a form of HDF5 that takes little room."""
    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder, "whole.weights.h5"), Path(folder, "small.weights.h5")
        model.save_weights(whole)
        with h5py.File(whole) as source, h5py.File(small, "w", libver=("v110", "v110")) as copy:

            def put(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    copy[name] = item[()].astype("float16" if item.ndim == 4 else item.dtype)
                else:
                    copy.require_group(name).attrs.update(item.attrs)

            source.visititems(put)
            copy.attrs.update(source.attrs)
        target.write_bytes(small.read_bytes())


@torch.no_grad()
def difference(student: Student, weights: Path, size: tuple[int, int]) -> float:
    images = np.random.default_rng(0).uniform(-1, 1, (16, *size, 3)).astype(np.float32)
    model = TINY.build(size)
    model.load_weights(weights)
    ours = np.asarray(model(images)).mean((1, 2))
    theirs = student.eval()(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    return float(np.abs(ours - theirs).max() / theirs.std())


if __name__ == "__main__":
    main()
