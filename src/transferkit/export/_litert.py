"""TensorFlow's conversion of a SavedModel to LiteRT, which runs in a process of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf


def main(saved_model: str, target: str, quantize: str, photos: str) -> None:
    """Write `target`; `photos` is an ``.npy`` file of float32 `(n, h, w, 3)`, RGB 0-255, which only int8 reads."""
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
    if quantize != "None":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]  # alone, weights in int8: "dynamic"
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.representative_dataset = lambda: ([photo[np.newaxis]] for photo in np.load(photos))
    Path(target).write_bytes(converter.convert())
