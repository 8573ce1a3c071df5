"""The benchmarks: they fit the library as it is now, and their shared part tells the truth."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

BENCHMARKS = ROOT / "benchmarks"


def imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_a_benchmark_finds_what_it_imports(path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    assert imported(path).__doc__


def test_sides_run_in_turns_and_give_medians(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    sides = imported(BENCHMARKS / "sides.py")
    called = []

    def side(name: str, seconds: list[float]) -> object:
        return lambda number: called.append(name) or {"seconds": seconds[number]}

    medians = sides.in_turns({"a": side("a", [1, 2, 9]), "b": side("b", [4, 40, 4])}, 3)
    assert called == ["a", "b"] * 3
    assert medians == {"a": {"seconds": 2}, "b": {"seconds": 4}}
    sides.print_table(medians, "a")
    assert "ratio 2.00" in capsys.readouterr().out


def test_without_photos_a_benchmark_says_so(tmp_path):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "warm.py")],
        capture_output=True,
        text=True,
        env={"TRANSFERKIT_TEST_ASSETS": str(tmp_path), "PATH": ""},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "skipped: no photos in" in done.stdout
