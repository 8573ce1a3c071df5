"""The fuzzer finds no file that `load` does not refuse in words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT


@pytest.mark.slow
def test_the_fuzzer_finds_nothing_in_load(tmp_path: Path, saved_file: Path) -> None:
    """In a process of its own, as native code that crashes takes its process along."""
    pytest.importorskip("atheris")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for path in (saved_file, *(ROOT / "tests" / "golden").glob("*.keras")):
        shutil.copy(path, corpus)
    seconds = int(os.environ.get("TRANSFERKIT_FUZZ_SECONDS", "60"))
    options = [f"-max_total_time={seconds}", "-max_len=200000", "-len_control=0", "-timeout=60", "-rss_limit_mb=6000"]
    run = subprocess.run(
        [sys.executable, ROOT / "tests" / "fuzz" / "loading.py", corpus, *options],
        cwd=tmp_path,
        capture_output=True,
        timeout=seconds + 300,
    )
    ended = run.stderr[-5000:].decode(errors="replace")
    left = [path.name for path in tmp_path.iterdir() if path not in (corpus, saved_file)]
    assert (run.returncode, left) == (0, []), ended
    assert "Done " in ended
