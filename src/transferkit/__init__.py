"""Image transfer learning on Keras 3: from a folder of photos to a classifier that can be shipped.

    import transferkit as tk

    clf = tk.TransferClassifier("MobileNetV2")
    clf.fit("photos/train")
    clf.fine_tune()
    print(clf.evaluate("photos/test"))
    clf.save("pets.keras")

Each public name is imported on first use, so that ``import transferkit`` takes no time: TensorFlow is loaded with the
first name that needs it, such as `TransferClassifier`. The names are listed in ``__init__.pyi``, for type checkers and for
this file.
"""

import ast
import os
from importlib import import_module
from pathlib import Path

# TensorFlow reads this when it is imported. By default it uses oneDNN only on processors with AVX-512; with AVX2, it is
# faster too (benchmarks/onednn.py), and the features of an image do not depend on the other images of its batch.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_ROOM_OF = {
    alias.name: node.module
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")).body
    if isinstance(node, ast.ImportFrom)
    for alias in node.names
}

__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> object:
    if name not in _ROOM_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = _ROOM_OF[name]  # None for a package itself
    value = getattr(import_module(f".{room}", __name__), name) if room else import_module(f".{name}", __name__)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
