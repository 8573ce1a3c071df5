"""The precision of the frozen layers: what a user may choose, and what this machine computes fast."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import tensorflow as tf

from .._common.arguments import check_choice
from ..errors import InvalidInputError

Precision = Literal["float32", "bfloat16", "auto"]

# Linux's names of the instructions that multiply bfloat16: AVX-512 BF16 and AMX.
INSTRUCTIONS = re.compile(r"\b(avx512_bf16|amx_bf16)\b")
TENSOR_CORES = (7, 0)  # the compute capability from which NVIDIA's GPUs have them


def check_precision(choice: object) -> Literal["float32", "bfloat16"]:
    """The precision to compute in on this machine."""
    check_choice("precision", choice, Precision, "Pass precision='auto' for the fast one")
    if choice == "bfloat16" and not has_fast_half():
        raise InvalidInputError(
            "`precision='bfloat16'` needs a processor with AVX-512 BF16 or AMX, or a GPU with tensor cores, which this "
            "machine does not have. Pass precision='auto', which takes bfloat16 only where it is fast."
        )
    return "float32" if choice == "float32" or not has_fast_half() else "bfloat16"


def has_fast_half() -> bool:
    """Whether the device that computes multiplies 16-bit floats faster than 32-bit ones."""
    if gpus := tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpus[0])
        return tuple(details.get("compute_capability", (0, 0))) >= TENSOR_CORES
    try:
        return INSTRUCTIONS.search(Path("/proc/cpuinfo").read_text()) is not None
    except OSError:  # only Linux has this file
        return False
