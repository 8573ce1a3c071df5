"""The house from within: what each module says of itself, and how many of them the main job goes through.

Which room may import which is in pyproject.toml.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import threading
from pathlib import Path
from types import FrameType

import pytest
from conftest import Make

import transferkit as tk

HOUSE = Path(tk.__file__).parent
MODULES = ["transferkit", *(module.name for module in pkgutil.walk_packages([str(HOUSE)], "transferkit."))]

# Modules whose functions `fit` on a folder enters.
MOST_MODULES = 44


@pytest.mark.thorough
def test_fit_on_a_folder_enters_few_modules(make: Make, photos: Path) -> None:
    house = f"{HOUSE}/"
    entered: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(house) and code.co_name != "<module>":
            entered.add(code.co_filename.removeprefix(house))

    clf = make()
    clf.fit(photos / "train", epochs=1, verbose=0)  # imports what it needs, and makes what it makes once a process
    tk.cache.clear()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        clf.fit(photos / "train", epochs=1, verbose=0)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert len(entered) <= MOST_MODULES, f"{len(entered)} modules: {', '.join(sorted(entered))}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_for(module: str) -> None:
    assert (importlib.import_module(module).__doc__ or "").strip()
