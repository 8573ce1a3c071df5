"""Fuzzing `load`: any bytes at all become a classifier that computes what it was saved with, or a `BundleError`.

Run by test_fuzzing.py, or by hand for longer: ``python tests/fuzz/loading.py CORPUS -max_total_time=3600``. CORPUS is a
folder of saved classifiers, such as ``tests/golden``, to which the fuzzer adds those that reach new code; the other
arguments are libFuzzer's. What crashes is written to a file ``crash-...`` in the current folder, and loaded again by
naming that file as the corpus.

Most changes get the hash that fits: without it, all of them would be refused by the hash alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import atheris

with atheris.instrument_imports(include=["transferkit", "zipfile", "json"]):
    import transferkit as tk
    from transferkit.saving import archive

from fuzz.mutations import PLAIN
from networks import TINY

VALUES = [
    None,
    True,
    0,
    1,
    -1,
    3,
    2.5,
    1e308,
    -1e308,
    2**31,
    2**63,
    "",
    "x",
    "\n",
    "\0",
    [],
    [[]],
    {},
    {"loss": [1.0]},
    [1, 2, 3],
]
MEMBERS = (archive.MANIFEST, archive.WEIGHTS, archive.TRAINED_ON)


def load(data: bytes) -> None:
    """What is asserted of any bytes."""
    try:
        clf = tk.TransferClassifier.load(io.BytesIO(data))
    except tk.BundleError as error:
        assert "the BytesIO" in str(error) and len(str(error)) < 2_000, str(error)
        return
    except tk.InvalidInputError:
        assert not data
        return
    assert clf.backbone == "TinyNet"
    assert len(clf.classes_) == clf.network_.output_shape[-1]
    assert clf.card() and clf.summary() and str(clf.history_)


def mutated(data: bytes, random: Random) -> bytes:
    """A file with changed bytes in the archive, or in one member of it."""
    kind = random.random()
    if kind < 0.1:
        return random.choice(PLAIN)(data, random, [data])
    if kind < 0.3:
        return _sealed(random.choice(PLAIN)(data[:-64], random, [data]))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            members = {name: file.read(name) for name in file.namelist() if name in MEMBERS}
        name = random.choice(sorted(members))
    except Exception:  # an earlier change broke the archive
        return data
    for _ in range(random.choice([1, 1, 2, 4])):
        change = _with_another_value if name == archive.MANIFEST and random.random() < 0.7 else random.choice(PLAIN)
        members[name] = change(members[name], random, [data])
    return _archived(members)


def _with_another_value(text: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """The manifest with something else in the place of one of its values."""
    try:
        content = place = json.loads(text)
        while True:
            key = random.choice(list(place) if isinstance(place, dict) else range(len(place)))
            if not place[key] or not isinstance(place[key], (dict, list)) or random.random() < 0.2:
                break
            place = place[key]
        place[key] = random.choice([*VALUES, place[random.choice(list(place))] if isinstance(place, dict) else 1])
        return json.dumps(content).encode()
    except Exception:  # an earlier change broke it
        return text


def _archived(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
        file.comment = archive.SEAL + b"0" * 64
    return _sealed(buffer.getvalue()[:-64])


def _sealed(data: bytes) -> bytes:
    return data + hashlib.sha256(data).hexdigest().encode()


def main() -> None:
    tk.register_backbone(TINY)
    folders = [Path(argument) for argument in sys.argv[1:] if Path(argument).is_dir()]
    seeds = [path.read_bytes() for folder in folders for path in sorted(folder.glob("*.keras"))]

    def change(data: bytes, largest: int, seed: int) -> bytes:
        random = Random(seed)
        base = (
            random.choice(seeds) if seeds and random.random() < 0.7 else data
        )  # else most changes are of broken files
        return mutated(base, random)[:largest]

    atheris.Setup(sys.argv, load, custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
