"""Damage: of 10,000 files with a flipped bit and 1,000 cut ones none loads; a kill or a full disk costs no file."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import fresh_python

import transferkit as tk


def outcome(data: bytes) -> str:
    try:
        tk.TransferClassifier.load(io.BytesIO(data))
    except tk.BundleError:
        return "refused"
    return "loaded"


def flipped(data: bytes, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def flips(data: bytes, count: int) -> set[str]:
    """What comes of files in which one bit is flipped, at the ends and at random places."""
    rng, last = np.random.default_rng(0), 8 * len(data) - 1
    near_ends = [*range(64), *range(last - 8 * 128, last + 1)][:count]
    places = [*near_ends, *rng.integers(0, last, count - len(near_ends)).tolist()]
    return {outcome(flipped(data, bit)) for bit in places}


def test_a_flipped_bit_is_refused(saved_file: Path) -> None:
    assert flips(saved_file.read_bytes(), 1_500) == {"refused"}


@pytest.mark.slow
def test_a_flipped_bit_is_refused_wherever_it_is(saved_file: Path) -> None:
    assert flips(saved_file.read_bytes(), 10_000) == {"refused"}


def test_a_cut_file_is_refused(saved_file: Path) -> None:
    data = saved_file.read_bytes()
    lengths = {
        *range(1, 100),
        *range(len(data) - 200, len(data)),
        *np.linspace(1, len(data) - 1, 701).astype(int).tolist(),
    }
    assert len(lengths) >= 990
    assert {outcome(data[:length]) for length in lengths} == {"refused"}


@pytest.mark.parametrize("extra", [b"\0", b"\n", bytes(100_000)])
def test_a_file_with_more_behind_it_is_refused(saved_file: Path, extra: bytes) -> None:
    assert outcome(saved_file.read_bytes() + extra) == "refused"


# Forks a process that saves two classifiers in turn, kills it at a random moment, and looks at the file; and again.
KILLS = """
import json, os, random, signal, sys, time
from pathlib import Path
import transferkit as tk
from networks import TINY
from transferkit import saving
from transferkit._common import files as _files

tk.register_backbone(TINY)
target, count, random = Path(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
with saving.open_saved(target) as saved:
    manifest, known = saved.manifest, saved.known
    network = saving.rebuild(saved, tk.get_backbone("TinyNet"), "float32")

def save_forever():
    while True:
        saving.save(target, network, manifest, known, None)

whole, inodes, litter = 0, set(), 0
for _ in range(count):
    if not (child := os.fork()):
        save_forever()
    before = target.stat().st_ino
    while target.stat().st_ino == before:  # it saves
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.1))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with saving.open_saved(target) as saved:
        whole += saved.manifest == manifest
    inodes.add(target.stat().st_ino)
    litter += len(list(target.parent.iterdir())) > 1
left = len(list(target.parent.iterdir())) - 1
_files.LITTER_AGE = -1
saving.save(target, network, manifest, known, None)
print(json.dumps([whole, litter, left, sorted(path.name for path in target.parent.iterdir())]))
"""


def killed(path: Path, count: int, seed: int = 0) -> None:
    whole, within, left, names = json.loads(fresh_python(KILLS, path, count, seed).splitlines()[-1])
    assert whole == count
    assert within > 0, "no kill fell into a save"
    assert left > 0
    assert names == [path.name], "a later save removes what the killed ones left"


@pytest.mark.thorough
def test_a_kill_while_saving_leaves_a_whole_file(saved_file: Path) -> None:
    killed(saved_file, 12)


@pytest.mark.slow
def test_200_kills_while_saving_leave_200_whole_files(saved_file: Path) -> None:
    for seed in range(4):
        killed(saved_file, 50, seed)


def test_what_a_running_save_writes_is_not_litter(loaded: tk.TransferClassifier, tmp_path: Path) -> None:
    from transferkit._common.files import replacing

    with replacing(tmp_path / "pets.keras") as temporary:
        temporary.write_bytes(b"another process writes this")
        loaded.save(tmp_path / "pets.keras")
        assert temporary.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["pets.keras"]
