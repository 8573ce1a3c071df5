"""A description of a classifier: a model card in Markdown, with the YAML head that model hubs read.

The head has no license, which only the author can choose, and no ``base_model``, which must be the id of a model on the
hub: the backbone is a tag and is named in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..backbones import Backbone
from ..results import Phase
from .manifest import Manifest

MOST_CLASSES = 1000  # rows of the table
ALL_LABELS = "Accuracy is the share of images whose labels are all correct, at a threshold of 0.5 for each."
EXAMPLE = """```python
import transferkit as tk

clf = tk.TransferClassifier.load("classifier.keras")
for p in clf.predict("photos"):
    print(p.path, p.label, p.confidence)
```"""


def model_card(manifest: Manifest, record: Backbone) -> str:
    """The card of a classifier, as the text of a ``README.md``."""
    name, (height, width) = _plain(record.name), manifest.input_size
    sections = [
        _head(["image-classification", "transfer-learning", "transferkit", "keras", record.name]),
        f"# Image classifier on {name}",
        f"It assigns {_what(manifest)} to an image. It was made by transfer learning from "
        f"{_backbone(manifest, record)}. This card was written by transferkit {_plain(manifest.transferkit_version)}.",
        "## Use",
        EXAMPLE,
        f"The input is RGB, 0 to 255, at {height} x {width} px; transferkit resizes images, and the network scales pixels. "
        f"`keras.saving.load_model` opens the same file without transferkit if all layers of the backbone are Keras's own. "
        f"It also reads parts that can name code to run, so use it only on files that you trust.",
        "## Classes",
        _classes(manifest),
        "## Training",
        _training(manifest),
        "## Validation",
        "\n".join(f"- {_validation(phase)}" for phase in manifest.history_record().phases),
        "Standard errors follow +-. Each figure was measured on images that the network was not trained on."
        + ("" if manifest.thresholds is None else f" {ALL_LABELS}"),
        "## Limits",
        _limits(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _what(manifest: Manifest) -> str:
    count = len(manifest.classes)
    return f"one of {count} classes" if manifest.thresholds is None else f"none, one or several of {count} labels"


def _head(tags: Iterable[str]) -> str:
    listed = "".join(f"- {_quoted(tag)}\n" for tag in tags)
    return f"---\nlibrary_name: transferkit\npipeline_tag: image-classification\ntags:\n{listed}---"


def _quoted(text: str) -> str:
    """Any text as one YAML scalar."""
    safe = (char if " " <= char <= "~" and char not in '"\\' else f"\\U{ord(char):08x}" for char in text)
    return f'"{"".join(safe)}"'


def _plain(text: object) -> str:
    """Any text, escaped for Markdown, on one line."""
    return re.sub(r"([\\`*_\[\]<>&|~:@#!$])", r"\\\1", " ".join(str(text).split()))


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _backbone(manifest: Manifest, record: Backbone) -> str:
    weights = {None: "random weights", "file": "weights from a file"}.get(manifest.weights)
    if weights is None:
        weights = f"weights trained on {_plain(record.trained_on)}" if record.trained_on else "pretrained weights"
    size = f", {record.parameters:,} parameters" if record.parameters else ""
    return f"the backbone {_plain(record.name)} ({weights}{size})"


def _classes(manifest: Manifest) -> str:
    """The classes, and how many images of each were trained on in the last phase that was kept and has counts."""
    trained = [phase.images for phase in manifest.history_record().phases if phase.images and phase.kept]
    counts = trained[-1] if trained else {}
    names, left = manifest.classes[:MOST_CLASSES], len(manifest.classes) - MOST_CLASSES
    table = _table(["class", "training images"], ([_plain(name), counts.get(name, "-")] for name in names))
    return table + (f"\n\nand {left:,} more." if left > 0 else "")


def _training(manifest: Manifest) -> str:
    head = ["phase", "first trained layer", "epochs", "training images", "held-out images", "SHA-256 of the images"]
    rows = []
    for phase in manifest.history_record().phases:
        counts = [
            phase.epochs,
            sum(phase.images.values()) if manifest.thresholds is None else "-",
            phase.validation_images,
        ]
        name = phase.name if phase.kept else f"{phase.name} (not kept)"
        rows.append([name, _plain(phase.first_layer), *counts, phase.data[:16]])
    return _table(head, rows)


def _validation(phase: Phase) -> str:
    """What was measured in a phase, and what was chosen by these figures."""
    chosen = [] if phase.selection is None else [str(phase.selection)]
    # The figures of the epochs of `fine_tune` are not those of the network that was chosen.
    measured = [] if chosen and phase.name == "fine_tune" else [_measured(phase)]
    return f"{phase.name}: {'; '.join(measured + chosen)}"


def _measured(phase: Phase) -> str:
    found = {name: values[phase.kept - 1] for name, values in phase.metrics.items() if phase.kept}
    if "val_loss" not in found:
        return "not measured on held-out images"
    shown = {name: f"{found[name]:.4f}" for name in ("val_accuracy", "val_loss") if name in found}
    shown = {
        name: f"{text} (+-{phase.errors[name]:.4f})" if name in phase.errors else text for name, text in shown.items()
    }
    where = (
        f"in {phase.folds} folds of the training images" if phase.folds else f"on {phase.validation_images:,} images"
    )
    return f"accuracy {shown.get('val_accuracy', '-')}, loss {shown['val_loss']}, {where}"


def _limits(manifest: Manifest) -> str:
    half = "- The frozen part computes in half precision on machines that are fast at it.\n"
    one = "- Every image gets one of the classes, even if it shows none of them.\n"
    return (
        f"{one if manifest.thresholds is None else ''}"
        "- The figures hold for images like the training images; others may be classified less well.\n"
        f"{half if manifest.precision == 'bfloat16' else ''}"
        "- Biases of the training images, and of the images that the backbone was trained on, are learned too."
    )
