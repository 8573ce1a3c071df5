"""What is public: its names, its docstrings and its types, and what the package says of itself."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT, public_things

import transferkit as tk

HOUSE = Path(tk.__file__).parent

PUBLIC = [name for name in tk.__all__ if name not in ("__version__", "cache")]
THINGS = public_things()


def runs(code: str) -> str:
    """What a fresh Python prints."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


# ---- what is public ----


def test_all_is_sorted_and_each_name_can_be_imported() -> None:
    assert sorted(tk.__all__) == tk.__all__
    assert len(set(tk.__all__)) == len(tk.__all__)
    for name in tk.__all__:
        assert getattr(tk, name) is not None


@pytest.mark.thorough
def test_all_names_what_the_modules_mark_as_public() -> None:
    marked = set()
    for path in HOUSE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            decorators = [ast.unparse(decorator) for decorator in getattr(node, "decorator_list", [])]
            marked |= {getattr(node, "name", "")} if "public" in decorators else set()
    assert marked == set(PUBLIC)


@pytest.mark.parametrize("room", ["results", "checks"])
def test_the_types_of_results_are_imported_from_their_room(room: str) -> None:
    module = importlib.import_module(f"transferkit.{room}")
    types = [value for name in module.__all__ if isinstance(value := getattr(module, name), type)]
    assert types
    for kind in types:
        assert (kind.__module__, kind.__qualname__) == (f"transferkit.{room}", kind.__name__)


def test_a_star_import_brings_the_public_names_and_no_others() -> None:
    names: dict[str, object] = {}
    exec("from transferkit import *", names)
    assert set(names) - {"__builtins__"} == set(tk.__all__)


def test_dir_lists_the_public_names_before_they_are_used() -> None:
    assert runs(f"import transferkit; print(set({tk.__all__}) <= set(dir(transferkit)))") == "True"


@pytest.mark.parametrize("name", ["TransferClasifier", "tensorflow", "_nothing"])
def test_an_unknown_name_is_an_attribute_error_that_names_it(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'transferkit' has no attribute '{name}'"):
        getattr(tk, name)
    assert not hasattr(tk, name)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_object_shows_its_public_path(name: str) -> None:
    assert getattr(tk, name).__module__ == "transferkit"
    assert getattr(tk, name).__name__ == name


def members(kind: type) -> Iterator[tuple[str, object]]:
    """The public methods and properties of a class, inherited ones of transferkit included."""
    for name, member in inspect.getmembers(kind):
        owner = next((base for base in kind.__mro__ if name in vars(base)), object)
        ours = owner.__module__.partition(".")[0] == "transferkit"
        if ours and not name.startswith("_") and (isinstance(member, property) or inspect.isroutine(member)):
            yield name, member


@pytest.mark.parametrize("name", THINGS)
def test_a_public_object_and_its_members_have_docstrings(name: str) -> None:
    thing = THINGS[name]
    assert (thing.__doc__ or "").strip()
    assert not (thing.__doc__ or "").startswith(f"{thing.__name__}(")  # what dataclass and NamedTuple write themselves
    if inspect.isclass(thing):
        bare = [member for member, value in members(thing) if not (inspect.getdoc(value) or "").strip()]
        assert bare == []


@pytest.mark.parametrize("name", THINGS)
def test_a_public_callable_is_fully_annotated(name: str) -> None:
    thing = THINGS[name]
    functions = {name: thing}
    if inspect.isclass(thing):
        functions = {n: getattr(m, "fget", None) or getattr(m, "func", m) for n, m in members(thing)}
        if "__init__" in vars(thing):
            functions["__init__"] = thing.__init__
    for label, function in functions.items():
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, label
        bare = [
            p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in ("self", "cls")
        ]
        assert bare == [], label
        named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        vague = [p.name for p in named if re.search(r"\b(Any|object)\b", str(p.annotation))]
        assert vague == [], f"{label}: say what it takes"


# ---- the package ----


def test_the_package_says_that_it_is_typed() -> None:
    assert (HOUSE / "py.typed").is_file()


def test_the_version_is_that_of_the_installed_package() -> None:
    assert tk.__version__ == importlib.metadata.version("transferkit")
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", tk.__version__)


def test_the_newest_dated_version_of_the_changelog_is_this_one_unless_it_is_in_development() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(.+?)\] - \d{4}-\d{2}-\d{2}$", changelog, re.MULTILINE)
    assert newest is not None, "no version has a date"
    assert (newest[1] == tk.__version__) != (".dev" in tk.__version__)


def test_show_versions_names_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    tk.show_versions()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Python {sys.version.split()[0]} on ")
    for package in ("transferkit", "tensorflow", "keras", "numpy", "scikit-learn", "pillow", "pooch"):
        assert f"{package} {importlib.metadata.version(package)}" in lines
