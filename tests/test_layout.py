"""The house: which module may import which, what is public, and what an import costs."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import transferkit as tk

HOUSE = Path(tk.__file__).parent

# From DESIGN, section 2, with the modules that came later: a module imports only from those before it.
ORDER = """
_version _public errors
arguments folders labels images resizing opening decoding arrays datasets inputs splits workers
progress records applications residual tiny backbones hub places downloads weights
loading shards tables store cache fingerprints network precision frozen values
augmentation likeness findings forecast features report doctor examination steps training
plots results gallery
options phases inference bundle
estimator classifier
""".split()  # noqa: SIM905  # lines that belong together

PUBLIC = [name for name in tk.__all__ if name not in ("__version__", "cache")]


def runs(code: str) -> str:
    """What a fresh Python prints."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


# ---- imports go one way ----


def imports(tree: ast.AST) -> Iterator[str]:
    """Modules of the package that are imported anywhere in a module, for type checkers alone excepted."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and node.level:
            yield from [node.module] if node.module else [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "transferkit":
            yield (node.module or "").partition(".")[2] or "__init__"
        elif isinstance(node, ast.Import):
            yield from (
                a.name.partition(".")[2] or "__init__" for a in node.names if a.name.split(".")[0] == "transferkit"
            )
        yield from imports(node)


def test_every_module_has_its_place_in_the_order() -> None:
    modules = {module.name for module in pkgutil.iter_modules([str(HOUSE)])}
    assert modules == set(ORDER)
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("module", ORDER)
def test_a_module_imports_only_from_those_before_it(module: str) -> None:
    tree = ast.parse((HOUSE / f"{module}.py").read_text(encoding="utf-8"))
    assert set(imports(tree)) <= set(ORDER[: ORDER.index(module)])


def test_the_reader_of_imports_sees_all_kinds_of_them() -> None:
    code = """
from . import a
from .b import x
import transferkit.c
from transferkit.d import y
if TYPE_CHECKING:
    from .no import z
def f():
    if x:
        from .e import w
"""
    assert sorted(imports(ast.parse(code))) == ["a", "b", "c", "d", "e"]


# ---- what an import costs ----

HEAVY = ("tensorflow", "keras", "numpy", "h5py", "rich", "pandas", "PIL", "matplotlib", "sklearn")


def test_importing_transferkit_imports_nothing_heavy() -> None:
    assert runs(f"import sys, transferkit; print([m for m in {HEAVY} if m in sys.modules])") == "[]"


@pytest.mark.parametrize(
    "module", ["errors", "images", "backbones", "store", "results", "splits", "records", "weights"]
)
def test_the_light_modules_do_not_import_tensorflow(module: str) -> None:
    code = f"import sys, transferkit.{module}; print([m for m in ('tensorflow', 'keras', 'matplotlib') if m in sys.modules])"
    assert runs(code) == "[]"


def test_looking_up_a_backbone_does_not_import_tensorflow() -> None:
    code = "import sys, transferkit as tk; tk.list_backbones(); str(tk.get_backbone('vgg16')); print('tensorflow' in sys.modules)"
    assert runs(code) == "False"


# ---- what is public ----


def test_all_is_sorted_and_each_name_can_be_imported() -> None:
    assert sorted(tk.__all__) == tk.__all__
    assert len(set(tk.__all__)) == len(tk.__all__)
    for name in tk.__all__:
        assert getattr(tk, name) is not None


def test_all_names_what_the_modules_mark_as_public() -> None:
    marked = set()
    for module in ORDER:
        tree = ast.parse((HOUSE / f"{module}.py").read_text(encoding="utf-8"))
        for node in tree.body:
            decorators = [ast.unparse(decorator) for decorator in getattr(node, "decorator_list", [])]
            marked |= {node.name} if "public" in decorators else set()
    assert marked == set(PUBLIC)


def test_names_for_type_checkers_are_those_of_all() -> None:
    tree = ast.parse((HOUSE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    named = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert named == {*PUBLIC, "cache"}


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


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_object_and_its_members_have_docstrings(name: str) -> None:
    thing = getattr(tk, name)
    assert (thing.__doc__ or "").strip()
    assert not (thing.__doc__ or "").startswith(f"{name}(")  # what dataclass and NamedTuple write themselves
    if inspect.isclass(thing):
        bare = [member for member, value in members(thing) if not (inspect.getdoc(value) or "").strip()]
        assert bare == []


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_callable_is_fully_annotated(name: str) -> None:
    thing = getattr(tk, name)
    functions = {name: thing}
    if inspect.isclass(thing):
        functions = {n: m.fget if isinstance(m, property) else m for n, m in members(thing)}
        if "__init__" in vars(thing):
            functions["__init__"] = thing.__init__
    for label, function in functions.items():
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, label
        bare = [
            p.name for p in signature.parameters.values() if p.annotation is p.empty and p.name not in ("self", "cls")
        ]
        assert bare == [], label


@pytest.mark.parametrize("module", ORDER)
def test_what_a_module_lists_in_all_is_there(module: str) -> None:
    loaded = importlib.import_module(f"transferkit.{module}")
    for name in getattr(loaded, "__all__", []):
        assert hasattr(loaded, name)


@pytest.mark.parametrize("module", ["__init__", *ORDER])
def test_a_module_says_what_it_is_for(module: str) -> None:
    assert ast.get_docstring(ast.parse((HOUSE / f"{module}.py").read_text(encoding="utf-8")))


# ---- the package ----


def test_the_package_says_that_it_is_typed() -> None:
    assert (HOUSE / "py.typed").is_file()


def test_the_version_is_that_of_the_installed_package() -> None:
    assert tk.__version__ == importlib.metadata.version("transferkit")
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", tk.__version__)
