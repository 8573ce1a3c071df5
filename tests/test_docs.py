"""What the documentation says runs: every Python block of the pages and of the README, every example in a docstring.

The blocks of a page run in order, in one namespace, in a folder with a few real photos. The pretrained
weights of MobileNetV2 are read from the folder of real photos and weights instead of being downloaded.
"""

from __future__ import annotations

import doctest
import re
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import MOBILENET, ROOT, public_things

import transferkit as tk
from transferkit.backbones.keras_applications import TABLE

# test_recipes.py runs the page of recipes.
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```python *\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    line: int
    source: str


def python_blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(text.count("\n", 0, match.start(1)), match[1]) for match in FENCE.finditer(text)]


def docstring_examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder()
    things = public_things()
    found = [
        test for name, thing in things.items() for test in finder.find(thing, f"tk.{name}", module=False, globs={})
    ]
    return [test for test in found if test.examples]


EXAMPLES = docstring_examples()

# What only a page runs has no test.
pytestmark = pytest.mark.no_cover


@pytest.fixture(scope="module")
def workplace(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with all that the pages name; the pretrained weights of MobileNetV2 are at hand."""
    file = assets / "weights" / MOBILENET
    if not file.is_file():
        pytest.skip(f"no pretrained weights: {file} is missing (set TRANSFERKIT_TEST_ASSETS)")
    folder = tmp_path_factory.mktemp("docs")
    for split, count in (("train", 8), ("test", 4)):
        for name in ("cats", "dogs"):
            copy_photos(assets / "data" / "cats_dogs" / split / name, folder / "photos" / split / name, count)
    (folder / "photos" / "new").mkdir()
    for name, source in (("a.jpg", "cats"), ("b.jpg", "dogs")):
        shutil.copy(next((folder / "photos" / "test" / source).iterdir()), folder / "photos" / "new" / name)

    weights = folder / "weights"
    weights.mkdir()
    official = tk.get_backbone("MobileNetV2").weights_file((224, 224))
    assert official is not None
    (weights / official.name).symlink_to(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERKIT_WEIGHTS", str(weights))
        patch.chdir(folder)
        # The pages call fine_tune with its defaults; what they show does not depend on how long it trains.
        patch.setattr("transferkit.training.tuning.TUNING_STEPS", 2)
        # The pages go on from the one that saves this file.
        tk.TransferClassifier("MobileNetV2", seed=0).fit("photos/train", epochs=5, verbose=0).save("pets.keras")
        yield folder


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("values")


@pytest.fixture(autouse=True)
def _own_cache(values: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cache for all pages, which show the same photos."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(values))


def copy_photos(source: Path, target: Path, count: int) -> None:
    target.mkdir(parents=True)
    for photo in sorted(source.glob("*.jpg"))[:count]:
        shutil.copy(photo, target / photo.name)


def run_page(page: Path) -> Iterator[dict[str, Any]]:
    """Its names after each block."""
    namespace: dict[str, Any] = {"__name__": page.stem}
    for block in python_blocks(page):
        # Empty lines in front make line numbers in a traceback those of the page.
        exec(compile("\n" * block.line + block.source, page, "exec"), namespace)
        yield namespace


@pytest.mark.docs
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ("export.md", "recipes.md")], ids=lambda page: page.name
)
def test_the_blocks_of_a_page_run(page: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    for _ in run_page(page):
        pass


@pytest.mark.docs
def test_the_programs_of_the_page_of_export_answer_as_predict(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("tf2onnx", "onnxruntime", "ai_edge_litert", "openvino"):
        pytest.importorskip(
            package, reason="the packages of transferkit's extras onnx, litert and openvino are missing"
        )
    monkeypatch.chdir(workplace)
    programs = 0
    for names in run_page(ROOT / "docs" / "export.md"):
        if classify := names.pop("classify", None):
            for expected in names["clf"].predict("photos/test", verbose=0):
                found = classify(expected.path)
                label, confidence = (tuple(found), tuple(found.values())) if isinstance(found, dict) else found
                assert label == expected.label
                assert confidence == pytest.approx(expected.confidence, abs=1e-4)
            programs += 1
    assert programs == 5


@pytest.mark.docs
@pytest.mark.parametrize("example", EXAMPLES, ids=[example.name for example in EXAMPLES])
def test_the_examples_of_a_docstring_run(
    example: doctest.DocTest, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=report.append)
    assert not report, "".join(report)


def test_blocks_are_found() -> None:
    pages = {page.name: len(python_blocks(page)) for page in PAGES}
    assert pages["getting-started.md"] >= 5
    assert not [page.name for page in PAGES if "```py\n" in page.read_text(encoding="utf-8")], "spell it ```python"
    assert len(EXAMPLES) >= 5


def test_the_reference_holds_every_public_name() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "reference").glob("*.md")))
    described = set(re.findall(r"\.\. (?:auto\w+|py:data):: (\w+)", pages))
    assert {name.rpartition(".")[2] for name in public_things()} <= described
    assert "__version__" in described


def test_the_table_of_backbones_is_that_of_the_registry() -> None:
    """`python docs/backbone_table.py` writes it again."""
    program = runpy.run_path(str(ROOT / "docs" / "backbone_table.py"))
    page = (ROOT / "docs" / "backbones.md").read_text(encoding="utf-8")
    assert program["rendered"](page) == page
    for record in TABLE:
        assert f"| {record.name} | {record.parameters:,} | {record.default_size} |" in page
