"""Write the tables of `backbones.md` from the registry: ``python docs/backbone_table.py``."""

from __future__ import annotations

import re
from pathlib import Path

import transferkit as tk
from transferkit.backbones.keras_applications import TABLE
from transferkit.backbones.registry import FAMILIES
from transferkit.backbones.tiny import TINY

PAGE = Path(__file__).with_name("backbones.md")
BEGIN, END = "<!-- table: written by docs/backbone_table.py -->\n", "<!-- end of table -->\n"
HEAD = """\
| backbone | parameters | default, px | minimum, px | features | preprocessing | contains | weights for, px | hash | stages |
|---|--:|--:|--:|--:|---|---|---|---|---|
"""
FAMILY_HEAD = """\
| family | stands for |
|---|---|
"""


def row(record: tk.Backbone) -> str:
    inside = [name for name, there in (("BN", record.batch_norm), ("Dropout", record.dropout)) if there]
    cells = [
        record.name,
        f"{record.parameters:,}",
        record.default_size,
        record.min_size,
        record.feature_dim,
        record.preprocessing,
        ", ".join(inside) or "-",
        ", ".join(map(str, record.weight_sizes)),
        checked_by(record),
        stages(record.stages),
    ]
    return f"| {' | '.join(map(str, cells))} |\n"


def checked_by(record: tk.Backbone) -> str:
    file = record.weights_file(record.input_size(None))
    if file is None:
        return "in the package"
    return file.digest.partition(":")[0] if file.digest else "unknown"


def stages(names: tuple[str, ...]) -> str:
    """Each run of numbered names, shortened to its first and last name."""
    runs: list[list[str]] = []
    for name in names:
        stem, number = re.fullmatch(r"(.*?)(\d*)", name).groups()  # type: ignore[union-attr]
        last = re.fullmatch(r"(.*?)(\d*)", runs[-1][-1]).groups() if runs else ("", "")  # type: ignore[union-attr]
        follows = runs and stem == last[0] and number and last[1] and int(number) == int(last[1]) + 1
        if follows:
            runs[-1].append(name)
        else:
            runs.append([name])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]} ... {run[-1]}" for run in runs)


def rendered(page: str) -> str:
    """The page with its tables replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    table = HEAD + "".join(map(row, (TINY, *TABLE)))
    families = FAMILY_HEAD + "".join(f"| {family} | {name} |\n" for family, name in FAMILIES.items())
    return f"{before}{BEGIN}{families}\n{table}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
