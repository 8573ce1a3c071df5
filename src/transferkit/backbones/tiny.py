"""TransferKitTiny, the built-in backbone: its weights are part of the package.

It was trained by ``training/`` in the project's repository, by distillation from larger networks; its data, accuracy
and limits are in docs/transferkit-tiny.md.
"""

from __future__ import annotations

from pathlib import Path

from .record import Backbone

__all__ = ["TINY"]

# For each block its kind, the channels that come out, those inside, and the stride.
BLOCKS = (
    ("basic", 40, 40, 2),
    ("basic", 40, 40, 1),
    ("basic", 72, 72, 2),
    ("bottleneck", 144, 72, 1),
    ("bottleneck", 192, 72, 2),
    ("bottleneck", 192, 72, 1),
    ("bottleneck", 192, 72, 1),
)

TINY = Backbone(
    name="TransferKitTiny",
    builder="transferkit.backbones.residual:build_residual",
    preprocessing="tf",
    default_size=96,
    feature_dim=640,
    stages=tuple(f"block_{number}" for number in range(1, len(BLOCKS) + 1)),
    parameters=585_760,
    pretrained=Path(__file__).with_name("tiny.weights.h5"),
    trained_on="photos of many domains, by distillation",
    options={"stem": 32, "blocks": BLOCKS, "features": 640},
    family="TransferKit",
    batch_norm=True,
    dropout=False,
)
