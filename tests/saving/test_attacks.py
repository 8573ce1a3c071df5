"""Files that an attacker could write, each with the hash that fits: none is run, none loads, and none takes memory."""

from __future__ import annotations

import gc
import hashlib
import io
import pickle
import stat
import struct
import sys
import tarfile
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from forging import forge, manifest_of, members_of, with_manifest, with_member

import transferkit as tk
from transferkit.saving import FORMAT_VERSION
from transferkit.saving.archive import SEAL

Attack = Callable[[Path], object]

MARKER = Path("marker")  # in the folder of the test: no attack may write it
WEIGHTS, MANIFEST = "model.weights.h5", "transferkit.json"


class Marks:
    """Unpickling it writes the marker."""

    def __reduce__(self) -> Any:
        return Path.touch, (MARKER.absolute(),)


# ---- the archive ----


def added(name: str, content: bytes = b"print(1)") -> Attack:
    """One more member."""

    def attack(path: Path) -> None:
        member = zipfile.ZipInfo(name)
        member.filename = name  # ZipInfo corrects names
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names that are there twice
            forge(path, members_of(path), also=lambda archive: archive.writestr(member, content))

    return attack


def packed(name: str, method: int, content: bytes | None = None) -> Attack:
    """A member that is compressed."""

    def attack(path: Path) -> None:
        members = members_of(path)
        kept = members.pop(name)
        forge(path, members, also=lambda archive: archive.writestr(name, content or kept, method))

    return attack


def linked(name: str, to: str, kind: int = stat.S_IFLNK) -> Attack:
    def attack(path: Path) -> None:
        members = members_of(path)
        del members[name]
        link = zipfile.ZipInfo(name)
        link.external_attr = (kind | 0o777) << 16
        forge(path, members, also=lambda archive: archive.writestr(link, to))

    return attack


def patched(offset: int, form: str, value: int, name: str = WEIGHTS) -> Attack:
    """A number in the entry of a member in the archive's list."""

    def attack(path: Path) -> None:
        data = bytearray(path.read_bytes())
        entry = data.rindex(b"PK\1\2", 0, data.rindex(name.encode()))
        struct.pack_into(form, data, entry + offset, value)
        sealed(path, bytes(data))

    return attack


def sealed(path: Path, data: bytes) -> None:
    """The bytes, with the hash of an archive put right."""
    path.write_bytes(data)
    size = len(SEAL) + 64
    if data[-size:].startswith(SEAL):
        path.write_bytes(data[:-64] + hashlib.sha256(data[:-64]).hexdigest().encode())


def raw(data: bytes | Callable[[], bytes]) -> Attack:
    """Bytes with a hash at their end, whatever they are."""

    def attack(path: Path) -> None:
        content = data() if callable(data) else data
        sealed(path, content + SEAL + b"0" * 64)

    return attack


def long_list() -> bytes:
    """A list of members of 16 MB."""
    entry = b"PK\1\2" + bytes(24) + struct.pack("<H", 8) + bytes(16) + b"a.tx"
    entries = (entry.ljust(46, b"\0") + b"evil.txt") * 300_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, len(entries), 0, len(SEAL) + 64)
    return entries + end


def tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../marker"))
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.array([Marks()], dtype=object))
    return buffer.getvalue()


ARCHIVES: dict[str, Attack] = {
    "a module": added("evil.py"),
    "a path upwards": added("../marker"),
    "a long path upwards": added("../" * 40 + "etc/passwd"),
    "an absolute path": added("/tmp/marker"),
    "a path of Windows": added("C:\\marker"),
    "assets": added("assets/vocabulary.txt"),
    "a folder": added("assets/", b""),
    "another case": added("TRANSFERKIT.JSON"),
    "a name with a zero byte": added("transferkit.json\0.txt"),
    "a folder in place of config.json": added("config.json/", b""),
    "the manifest twice": added(MANIFEST, b"{}"),
    "the weights twice": added(WEIGHTS),
    "config.json twice": added("config.json", b"{}"),
    "weights that are a link": linked(WEIGHTS, "/etc/passwd"),
    "a manifest that is a link": linked(MANIFEST, "/etc/passwd"),
    "config.json that is a link": linked("config.json", "../marker"),
    "weights that are a device": linked(WEIGHTS, "", stat.S_IFCHR),
    "a bomb of zeros": packed(WEIGHTS, zipfile.ZIP_DEFLATED, bytes(2**24)),
    "compressed weights": packed(WEIGHTS, zipfile.ZIP_BZIP2),
    "a compressed manifest": packed(MANIFEST, zipfile.ZIP_DEFLATED),
    "a manifest of zeros": packed(MANIFEST, zipfile.ZIP_LZMA, b" " * 2**23),
    "compressed images": packed("trained_on.bin", zipfile.ZIP_DEFLATED),
    "an unknown method": patched(10, "<H", 99),
    "an encrypted member": patched(8, "<H", 1),
    "an encrypted manifest": patched(8, "<H", 1, MANIFEST),
    "a strongly encrypted member": patched(8, "<H", 0x41),
    "a size of 4 GB": patched(24, "<L", 2**32 - 2),
    "both sizes of 4 GB": lambda path: (patched(20, "<L", 2**32 - 2)(path), patched(24, "<L", 2**32 - 2)(path)),
    "a place beyond the end": patched(42, "<L", 2**31),
    "a place in another member": patched(42, "<L", 30),
    "a wrong checksum": patched(16, "<L", 0, MANIFEST),
    "no weights": lambda path: with_member(path, WEIGHTS, None),
    "no manifest": lambda path: with_member(path, MANIFEST, None),
    "no images": lambda path: with_member(path, "trained_on.bin", None),
    "nothing": lambda path: forge(path, {}),
    "a list of 300,000 members": raw(long_list),
    "a hash alone": raw(b""),
    "text": raw(b"hello"),
    "a pickle": raw(lambda: pickle.dumps(Marks())),
    "a tar archive": raw(tar),
    "arrays of NumPy": raw(npz),
    "half a key of an image": lambda path: with_member(path, "trained_on.bin", bytes(12 * 9 + 3)),
}

# ---- the manifest ----


def manifest_text(text: bytes) -> Attack:
    return lambda path: with_member(path, MANIFEST, text)


def field(**changes: Any) -> Attack:
    return lambda path: with_manifest(path, **changes)


def in_phase(**changes: Any) -> Attack:
    def attack(path: Path) -> None:
        phase = manifest_of(path)["history"][0]
        with_manifest(path, history=[{**phase, **changes}])

    return attack


def huge_network(path: Path) -> None:
    with_manifest(path, backbone="ConvNeXtXLarge", input_size=[224, 224])


MANIFESTS: dict[str, Attack] = {
    "nested lists": manifest_text(b"[" * 2_000_000),
    "nested objects": manifest_text(b'{"a":' * 500_000),
    "a long text": manifest_text(b'"' + b"a" * (5 * 2**20) + b'"'),
    "a million lists": manifest_text(b'{"format_version": [' + b"[]," * 1_300_000 + b"0]}"),
    "half a million keys": manifest_text(b"{" + b",".join(b'"%05x":1' % n for n in range(400_000)) + b"}"),
    "a long number": manifest_text(b'{"format_version": ' + b"9" * 100_000 + b"}"),
    "another encoding": manifest_text('{"format_version": 2}'.encode("utf-32")),
    "half a character": manifest_text(b'{"format_version": "\xc3'),
    "a list": manifest_text(b"[2]"),
    "nothing": manifest_text(b""),
    "a pickle": lambda path: with_member(path, MANIFEST, pickle.dumps(Marks())),
    "a newer version": field(format_version=FORMAT_VERSION + 1),
    "an older version": field(format_version=1),
    "a version that is text": field(format_version="2"),
    "a version that is a fraction": field(format_version=2.0),
    "a further field": field(custom_objects={"Marks": "os.system"}),
    "code as the backbone": field(backbone="os:system"),
    "a path as the backbone": field(backbone="../../marker"),
    "an address as the backbone": field(backbone="https://example.com/model.keras"),
    "a path as the weights": field(weights="/etc/passwd"),
    "an address as the weights": field(weights="https://example.com/weights.h5"),
    "a network that the file cannot hold": huge_network,
    "100,000 classes": field(classes=[f"{number}" for number in range(100_000)]),
    "more classes than weights": field(classes=["lying", "red", "standing", "sitting"]),
    "fewer classes than weights": lambda path: (field(classes=["lying", "red"])(path), in_phase(images=[1, 2])(path)),
    "class names that are not UTF-8": field(classes=["lying", "red", "\ud800"]),
    "class names with line breaks": field(classes=["lying", "red", "a\nb"]),
    "numbers beyond 64 bits": field(classes=[1, 2, 2**70]),
    "a size that the backbone cannot have": field(input_size=[4, 4]),
    "a size of no pixels": field(input_size=[32, 0]),
    "a size beyond all": field(input_size=[32, 10**9]),
    "other features": field(self_test=[0.0] * 16),
    "no self-test": field(self_test=[]),
    "a long self-test": field(self_test=[0.0] * 1000),
    "no history": field(history=[]),
    "counts of other classes": in_phase(images=[1, 2]),
    "counts below 0": in_phase(images=[1, 2, -3]),
    "an epoch that was not": in_phase(kept=10**6),
    "metrics of other lengths": in_phase(metrics={"loss": [1.0], "accuracy": []}),
    "no loss": in_phase(metrics={"accuracy": [1.0]}),
    "an unknown phase": in_phase(name="<script>"),
    "names of files": in_phase(skipped={"/home/a.jpg": "gone"}),
    "a time that is not one": field(saved="yesterday"),
}

# ---- the weights ----


def changed(change: Callable[[h5py.File], object]) -> Attack:
    """Change the HDF5 file."""

    def attack(path: Path) -> None:
        copy = path.with_name("copy.h5")
        copy.write_bytes(members_of(path)[WEIGHTS])
        with h5py.File(copy, "r+") as file:
            change(file)
        with_member(path, WEIGHTS, copy.read_bytes())
        copy.unlink()

    return attack


KERNEL, BIAS = "layers/dense/vars/0", "layers/dense/vars/1"
GAMMA = "layers/functional/layers/batch_normalization/vars/0"


def replaced(name: str = KERNEL, **options: Any) -> Attack:
    """Another dataset in the place of a weight."""

    def change(file: h5py.File) -> None:
        shape = options.pop("shape", file[name].shape)
        del file[name]
        file.create_dataset(name, shape, **{"dtype": "f4", **options})

    return changed(change)


def pointing(link: Any, name: str = KERNEL) -> Attack:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = link

    return changed(change)


def filled(name: str, value: float) -> Attack:
    def change(file: h5py.File) -> None:
        file[name][...] = value

    return changed(change)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(file[KERNEL].shape, "f4")
    layout[...] = h5py.VirtualSource("/etc/passwd", "data", file[KERNEL].shape)
    del file[KERNEL]
    file.create_virtual_dataset(KERNEL, layout)


def crowded(file: h5py.File) -> None:
    for number in range(3_000):
        file.create_group(f"layers/more/{number}")


def bomb(file: h5py.File) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, (16, 3), "f4", chunks=(16, 3), compression="gzip")
    file.create_dataset("layers/dense/vars/zeros", data=np.zeros(10_000_000, "f4"), compression="gzip")


ARRAYS: dict[str, Attack] = {
    "a link to another file": pointing(h5py.ExternalLink("/etc/passwd", "/")),
    "a link to a file beside it": pointing(h5py.ExternalLink("other.h5", KERNEL)),
    "a link to another weight": pointing(h5py.SoftLink(f"/{BIAS}")),
    "a link to itself": pointing(h5py.SoftLink(f"/{KERNEL}")),
    "a link to the top": pointing(h5py.SoftLink("/")),
    "a layer that is a link": pointing(h5py.ExternalLink("/etc/passwd", "/"), "layers/dense"),
    "values in another file": replaced(external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]),
    "values of other files": changed(virtual),
    "values in chunks": replaced(chunks=(16, 3)),
    "compressed values": replaced(chunks=(16, 3), compression="gzip"),
    "a bomb of zeros": changed(bomb),
    "an array that can grow": replaced(chunks=(16, 3), maxshape=(None, 3)),
    "an array of 40 GB": replaced(shape=(100_000, 100_000)),
    "an item of 1 GB": replaced(shape=(1,), dtype=np.dtype("V1000000000")),
    "a text of 1 GB": replaced(shape=(1,), dtype="S1000000000"),
    "texts of any length": replaced(dtype=h5py.string_dtype()),
    "arrays of any length": replaced(dtype=h5py.vlen_dtype(np.float32)),
    "references": replaced(dtype=h5py.ref_dtype),
    "records": replaced(dtype=np.dtype([("a", "f4"), ("b", "f4")])),
    "values that are arrays": replaced(dtype=np.dtype(("f4", (2,)))),
    "text in place of numbers": replaced(dtype="S4"),
    "complex numbers": replaced(dtype="c16"),
    "another shape": replaced(shape=(3, 16)),
    "no values": replaced(shape=(0, 3)),
    "more dimensions": replaced(shape=(16, 3, 1)),
    "thousands of groups": changed(crowded),
    "a layer without weights": changed(lambda file: file.__delitem__("layers/dense")),
    "a weight too few": changed(lambda file: file.__delitem__(BIAS)),
    "a group in place of a weight": changed(lambda file: (file.__delitem__(KERNEL), file.create_group(KERNEL))),
    "a head that is not a number": filled(KERNEL, np.nan),
    "a bias that is infinite": filled(BIAS, np.inf),
    "gamma that is not a number": filled(GAMMA, np.nan),
    "a negative variance": filled(GAMMA[:-1] + "3", -1.0),
    "other weights of the backbone": filled("layers/functional/layers/conv2d/vars/0", 0.5),
    "an empty file": lambda path: with_member(path, WEIGHTS, b""),
    "text": lambda path: with_member(path, WEIGHTS, b"hello" * 20_000),
    "a pickle": lambda path: with_member(path, WEIGHTS, pickle.dumps([Marks(), bytes(10_000)])),
    "half a file": lambda path: with_member(path, WEIGHTS, members_of(path)[WEIGHTS][:30_000]),
    "the first bytes of a file": lambda path: with_member(
        path, WEIGHTS, members_of(path)[WEIGHTS][:600] + bytes(20_000)
    ),
}

ATTACKS = {
    f"{where}: {name}": attack
    for where, attacks in (("archive", ARCHIVES), ("manifest", MANIFESTS), ("weights", ARRAYS))
    for name, attack in attacks.items()
}


@pytest.fixture(autouse=True)
def _no_marker() -> Iterator[None]:
    yield
    assert not MARKER.exists()


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused(saved_file: Path, name: str) -> None:
    ATTACKS[name](saved_file)
    with pytest.raises(tk.BundleError) as caught:
        tk.TransferClassifier.load(saved_file)
    assert str(saved_file) in str(caught.value)
    assert "its end is missing" not in str(caught.value), "the hash has to fit, else the attack is not tried"
    assert "hash that was saved" not in str(caught.value)


WRONG: list[Any] = [None, True, 2.5, -1, 10**30, "x", [], {}, [[]], [None], ["x"], {"a": []}, "1" * 1000]
# The fields for which some of these are right.
RIGHT: dict[str, list[Any]] = {
    "weights": [None],
    "seed": [None],
    "thresholds": [None],
    "class_weight": [None, [], {}],
    "feature_scale": [2.5, -1],
    "transferkit_version": ["x", "1" * 1000],
    "versions": [{}],
    "first_layer": ["x", "1" * 1000],
    "data": ["x", "1" * 1000],
    "selection": [None, [], {}],
    "skipped": [{}],
    "errors": [{}],
    "images": [[]],
    "seconds": [2.5, -1],
    "pass_seconds": [2.5, -1],
}
FIGURES = ("loss_before", "loss", "error", "accuracy_before", "accuracy")


def wrong_values(name: str) -> list[Any]:
    right = [2.5, -1] if name in FIGURES else RIGHT.get(name, [])
    return [value for value in WRONG if not any(value is one or (value == one and value is not True) for one in right)]


SELECTION = {"kept": "before", "loss_before": 1.0, "loss": 1.0, "error": 0.1, "accuracy_before": 0.5, "accuracy": 0.5}


def test_no_field_takes_a_wrong_type(saved_file: Path) -> None:
    manifest, tried = manifest_of(saved_file), 0
    phase = manifest["history"][0]
    selection = {**SELECTION, "images": 9, "folds": 5}
    for changes in (
        *({name: value} for name in manifest for value in wrong_values(name)),
        *({"history": [{**phase, name: value}]} for name in phase for value in wrong_values(name)),
        *(
            {"history": [{**phase, "selection": {**selection, name: value}}]}
            for name in selection
            for value in wrong_values(name)
        ),
    ):
        with pytest.raises(tk.BundleError):
            tk.TransferClassifier.load(with_manifest(saved_file, **{**manifest, **changes}))
            pytest.fail(f"{changes} was accepted")
        tried += 1
    assert tried > 400


@pytest.mark.parametrize("name", ["archive: a list of 300,000 members", "manifest: a million lists"])
def test_an_attack_takes_little_memory(saved_file: Path, name: str) -> None:
    ATTACKS[name](saved_file)
    tracemalloc.start()
    try:
        with pytest.raises(tk.BundleError):
            tk.TransferClassifier.load(saved_file)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell the peak of memory")
def test_no_attack_takes_memory(saved_file: Path) -> None:
    content = saved_file.read_bytes()
    for _ in range(3):
        tk.TransferClassifier.load(saved_file)
    for name, attack in ATTACKS.items():
        saved_file.write_bytes(content)
        attack(saved_file)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = kilobytes("VmRSS")
        with pytest.raises(tk.BundleError):
            tk.TransferClassifier.load(saved_file)
        assert kilobytes("VmHWM") - before < 100_000, name
