"""Checkpoints of a training run in a folder that the user chooses, so that a killed run can go on.

Each file is written whole or not at all, and holds only numbers. A damaged file counts as missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._common.files import local_path, replacing
from .._common.remote import refuse_url
from .._common.version import __version__
from ..errors import InvalidInputError, TransferKitError, bad_argument

FORMAT = 1
# Seconds of training that may be lost: files are not written more often.
INTERVAL = 5.0

Arrays = Mapping[str, npt.NDArray[Any]]


def check_resume(folder: object) -> Path:
    """The folder of a run, created if it does not exist.

    Raises:
        InvalidInputError: it is not a path, or cannot be written to.
    """
    refuse_url("resume", folder)
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise bad_argument("resume", folder, "must be the path of a folder", "Pass for example resume='run'")
    path = local_path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        rule = f"must be a folder that can be written to ({error.strerror})"
        raise bad_argument("resume", str(folder), rule, "Pass another folder") from error
    return path


def digest(*arrays: npt.NDArray[Any]) -> str:
    """A hash of the contents of arrays."""
    whole = hashlib.sha256()
    for array in arrays:
        whole.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()[:32]


class RunFolder:
    """The files of one phase of training in a folder; other files there are never touched.

    Args:
        phase: ``"fit"`` or ``"fine_tune"``, and a number: file names begin with it.
        writes: False in all processes but one, if several train together.
    """

    def __init__(self, folder: Path, phase: str, writes: bool = True) -> None:
        self.writes, self.folder, self.prefix = writes, folder, f"transferkit-{phase}"

    def seed(self, new: int) -> int:
        """The seed that the run was started with; `new` if there is none."""
        return int(self._facts().get("seed", new))

    def begin(self, arguments: Mapping[str, object], data: Mapping[str, object]) -> None:
        """Record what the run depends on, or compare it with what was recorded.

        Args:
            arguments: name, in words -> a value that JSON can hold; includes ``"seed"``.
            data: the same for what also depends on arguments; an error names it only if all arguments are equal.

        Raises:
            InvalidInputError: the run in the folder was started with different facts.
        """
        versions = {"format of the checkpoints": FORMAT, "version of transferkit": __version__}
        now = json.loads(json.dumps({**versions, **arguments, **data}))
        noted = self._facts()
        different = [name for name in {**noted, **now} if noted.get(name) != now.get(name)]
        if noted and different:
            named = [name for name in different if name not in data] or different
            raise InvalidInputError(
                f"The run in {str(self.folder)!r} was started with other values of {', '.join(named)}: it can only go on "
                f"unchanged. Pass what it was started with, or another folder as resume."
            )
        if not noted:
            self._write(self.path("json"), lambda path: path.write_text(json.dumps(now, indent=1)))

    def checkpoint(self, run: str) -> Checkpoint:
        """The state of one run of the phase, by its name."""
        return Checkpoint(self, self.path(f"{run}.npz"))

    def write_arrays(self, path: Path, arrays: Arrays) -> None:
        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)

        self._write(path, write)

    def _facts(self) -> dict[str, Any]:
        try:
            facts = json.loads(self.path("json").read_text())
        except (OSError, ValueError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def path(self, end: str) -> Path:
        return self.folder / f"{self.prefix}.{end}"

    def _write(self, path: Path, write: Callable[[Path], object]) -> None:
        if not self.writes:
            return
        try:
            with replacing(path) as temporary:
                write(temporary)
        except OSError as error:
            raise TransferKitError(
                f"The state of the run cannot be written to {str(path)!r} ({error.strerror or error}). Free some space or "
                f"pass another folder as resume; with the same arguments, the run goes on from the last state saved."
            ) from error


class Checkpoint:
    """The state of one run: arrays by name."""

    def __init__(self, folder: RunFolder, path: Path) -> None:
        self._folder, self._path = folder, path
        self._written = time.monotonic()

    def load(self) -> dict[str, npt.NDArray[Any]] | None:
        """The stored state; None if there is no such file, or it cannot be read."""
        try:
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}  # zip keeps a checksum of each
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None

    def save(self, state: Callable[[], Arrays], now: bool = False) -> None:
        """Write what `state` returns, if the last write was some seconds ago, or `now`.

        Raises:
            TransferKitError: the folder cannot be written to.
        """
        if now or time.monotonic() - self._written > INTERVAL:
            self._folder.write_arrays(self._path, state())
            self._written = time.monotonic()
