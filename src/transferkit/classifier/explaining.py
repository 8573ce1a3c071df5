"""Which parts of an image support a class.

Networks here average feature maps and apply one dense layer to the mean. So the logit of a class is the mean, over all
positions, of the features there times the kernel, plus the bias: class activation maps (Zhou et al., 2016,
https://arxiv.org/abs/1512.04150). Grad-CAM (Selvaraju et al., 2017, https://arxiv.org/abs/1610.02391) gives the same
maps, and also suits backbones that average their maps themselves. Transformers get the gradient times the pixel.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ..errors import bad_argument, some_of
from ..images import Codes, Images, Pixels, Resizing, Size, content_of, header_of, open_image, to_pixels
from ..network import Network, nodes_of
from ..results import Explanation, Explanations, Label, Predictions

BATCH = 16  # images at a time
PATCHES = 14  # along each side: gradients at single pixels are noise
SIDEWAYS = 5  # the EXIF orientations from here on swap height and width

Array = npt.NDArray[np.float32]


def label_codes(label: Label | Sequence[Label | None] | None, classes: npt.NDArray[Any], count: int) -> Codes:
    """The class to explain for each of `count` images, int64 `(count,)`; -1 = the most probable one.

    Raises:
        InvalidInputError: an unknown class, or not one class for each image.
    """
    code_of: dict[Any, int] = {None: -1} | {name: code for code, name in enumerate(classes.tolist())}
    given: Any = label
    names = given.item() if isinstance(given, np.ndarray) and not given.ndim else given
    names = [names] * count if names is None or isinstance(names, (str, int, np.generic)) else names
    if not isinstance(names, (Sequence, np.ndarray)) or len(names) != count:
        rule = f"must be one class, or one for each of the {count} images"
        raise bad_argument("label", label, rule, "Leave it out to explain the most probable class")
    if unknown := [name for name in names if not isinstance(name, Hashable) or name not in code_of]:
        rule = "is not a class that the classifier knows"
        raise bad_argument("label", unknown[0], rule, f"Its classes are {some_of(classes.tolist(), 10)}")
    return np.array([code_of[name] for name in names], np.int64)


def explain(
    network: Network, images: Images, rows: npt.NDArray[np.int64], predictions: Predictions, codes: Codes
) -> Explanations:
    """Explanations of the predicted images, `rows` of all, for their class in `codes` or else the predicted one."""
    codes = np.where(codes[rows] < 0, predictions.probabilities.argmax(axis=1), codes[rows])
    found = []
    for start in range(0, len(rows), BATCH):
        drawn = [
            _drawn(images, row, Resizing(network.size, network.resize)) for row in rows[start : start + BATCH].tolist()
        ]
        maps = _heatmaps(network, np.stack([pixels for pixels, _ in drawn]), codes[start : start + BATCH])
        for number, ((pixels, shape), heatmap) in enumerate(zip(drawn, maps, strict=True), start):
            label = predictions.classes[codes[number]].item()
            confidence = float(predictions.probabilities[number, codes[number]])
            shown = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
            found.append(Explanation(label, confidence, heatmap, shown, shape, predictions.paths[number]))
    return Explanations(found, predictions.skipped)


def _drawn(images: Images, row: int, resizing: Resizing) -> tuple[Pixels, Size]:
    """An image as the network sees it, and the upright height and width of the part that is seen."""
    content, name = content_of(images, row), images.name(row)
    pixels = to_pixels(content, name, resizing)
    if resizing.rule != "squash":  # the aspect ratio is already right
        return pixels, resizing.size
    if isinstance(content, np.ndarray):
        return pixels, content.shape[:2]
    header = header_of(open_image(content, name), content, name)
    shape = header.height, header.width
    return pixels, shape if header.orientation < SIDEWAYS else shape[::-1]


def _heatmaps(network: Network, pixels: Pixels, codes: Codes) -> Array:
    """float32 `(n, h, w)`, 0 to 1: the evidence for the class, as a share of the strongest evidence for or against it.

    As a share of the strongest evidence for it, a map would look strong even if almost nothing speaks for the class.
    """
    images, maps = tf.constant(pixels), _last_maps(network.backbone)
    if maps is None:
        found = _gradient_times_input(network, images, codes)
    else:
        found = _activation_map(network, maps, images, codes)
    sized = tf.image.resize(found[..., tf.newaxis], network.size).numpy()[..., 0]
    strongest = np.abs(sized).max(axis=(1, 2), keepdims=True)
    return np.asarray(np.maximum(sized, 0) / np.maximum(strongest, 1e-12), np.float32)


def _last_maps(backbone: keras.Model) -> keras.KerasTensor | None:
    """The last feature maps with more than one position; None if there are none, or if tokens come after them."""
    # Not `layer.output`: that is the tensor of the first graph that a layer is in, such as a nested model's own.
    for node in reversed(nodes_of(backbone)):
        for tensor in () if node.is_input else node.outputs:
            if len(tensor.shape) == 3:
                return None
            if len(tensor.shape) == 4 and min(side or 2 for side in tensor.shape[1:3]) > 1:
                return tensor
    return None


def _activation_map(network: Network, maps: keras.KerasTensor, images: tf.Tensor, codes: Codes) -> tf.Tensor:
    """Grad-CAM: what each position adds to the logit of the class, by the mean gradient of each map.

    For maps that the head averages, this is exactly the class activation map. With several labels per image, it is how
    far the logit at each position, including the constant, is above that of the label's threshold.
    """
    values, gradients, logits = _with_gradients(network, maps, images, codes)
    weights = tf.reduce_sum(gradients, axis=(1, 2), keepdims=True)
    places = tf.cast(tf.reduce_sum(values * weights, axis=-1), tf.float32)
    if network.thresholds is None:
        return places
    thresholds = network.thresholds.clip(1e-7, 1 - 1e-7)[codes]
    constants = logits - tf.reduce_mean(places, axis=(1, 2)) - np.log(thresholds / (1 - thresholds)).astype(np.float32)
    return places + constants[:, tf.newaxis, tf.newaxis]


def _gradient_times_input(network: Network, images: tf.Tensor, codes: Codes) -> tf.Tensor:
    values, gradients, _ = _with_gradients(network, network.backbone.input, images, codes)
    sides = [max(1, side // PATCHES) for side in network.size]
    return tf.nn.avg_pool2d(tf.reduce_sum(tf.abs(values * gradients), -1, keepdims=True), sides, sides, "SAME")[..., 0]


def _with_gradients(
    network: Network, tensor: Any, images: tf.Tensor, codes: Codes
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The values of a tensor of the backbone, the gradient of the class's logit with respect to them, and this logit.

    The mean logit of all classes, which does not affect softmax, is subtracted from it; but not with several labels per
    image, which do not compete.
    """
    backbone = network.backbone
    part = keras.Model(backbone.inputs, [tensor, backbone.output])
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        given = network.record.preprocess_input(images, check_scale=False)
        if tensor is not backbone.output:  # recording takes memory
            tape.watch(given)
        values, logits = part(given, training=False)
        values = given if tensor is backbone.input else values
        tape.watch(values)
        for layer in network.head:
            logits = layer(logits)
        chosen = tf.gather(logits, codes, batch_dims=1)
        if network.thresholds is None:
            chosen -= tf.reduce_mean(logits, axis=1)
    return values, tape.gradient(chosen, values), chosen
