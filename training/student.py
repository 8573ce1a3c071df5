"""The network in PyTorch, layer for layer and name for name the one that `transferkit.backbones.tiny` builds in Keras."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

Block = tuple[str, int, int, int]  # kind, channels out, channels inside, stride


class Student(nn.Module):
    """Images (n, 3, h, w) from -1 to 1 -> features (n, `features`) after global average pooling, 0 or more."""

    def __init__(self, stem: int, blocks: Sequence[Block], features: int) -> None:
        super().__init__()
        self.features = features
        self.blocks = tuple(blocks)
        self.layers = nn.ModuleDict({"stem": convolution(3, stem, 3, stride=2)})
        channels = stem
        for number, (kind, width, inner, stride) in enumerate(blocks, 1):
            plan = [(inner, 3, stride), (width, 3, 1)]
            if kind == "bottleneck":
                plan = [(inner, 1, 1), (inner, 3, stride), (width, 1, 1)]
            within = channels
            for step, (out, kernel, pace) in enumerate(plan, 1):
                self.layers[f"block_{number}_{step}"] = convolution(within, out, kernel, pace)
                within = out
            nn.init.zeros_(self.layers[f"block_{number}_{len(plan)}"][1].weight)  # a block begins as its shortcut
            if stride != 1 or channels != width:
                self.layers[f"block_{number}_shortcut"] = convolution(channels, width, 1)
            channels = width
        self.layers["last"] = convolution(channels, features, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values = functional.relu(self.layers["stem"](images))
        for number, block in enumerate(self.blocks, 1):
            values = self._block(values, f"block_{number}", block)
        return functional.relu(self.layers["last"](values)).mean((2, 3))

    def _block(self, values: torch.Tensor, name: str, block: Block) -> torch.Tensor:
        kind, _, _, stride = block
        found = values
        steps = 2 if kind == "basic" else 3
        for step in range(1, steps + 1):
            found = self.layers[f"{name}_{step}"](found)
            if step < steps:
                found = functional.relu(found)
        if stride != 1:
            values = functional.avg_pool2d(values, stride, ceil_mode=True, count_include_pad=False)
        if f"{name}_shortcut" in self.layers:
            values = self.layers[f"{name}_shortcut"](values)
        return functional.relu(found + values)


def convolution(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(out, eps=1e-3, momentum=0.01))
