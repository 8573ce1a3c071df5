"""Loading is data only: what its source may call, and what it does when it is watched."""

from __future__ import annotations

import ast
import base64
import json
import marshal
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from forging import with_member

import transferkit as tk

HOUSE = Path(tk.__file__).parent
LOAD_PATH = [*sorted((HOUSE / "saving").glob("*.py")), HOUSE / "_common" / "files.py", HOUSE / "network" / "network.py"]
LOAD_PATH += [HOUSE / "features" / "typicality.py", HOUSE / "_common" / "arguments.py"]

# What runs code that data describes, or follows an address in it.
MODULES = {
    "pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "importlib", "pkgutil", "runpy", "code", "codeop", "ctypes",
    "subprocess", "multiprocessing", "socket", "ssl", "http", "urllib", "ftplib", "requests", "pooch", "builtins", "yaml",
    "tarfile",
}  # fmt: skip
NAMES = {"eval", "exec", "compile", "__import__", "globals", "breakpoint"}
CALLS = {
    "system", "popen", "load_model", "from_config",
    "model_from_json", "deserialize", "deserialize_keras_object", "enable_unsafe_deserialization", "custom_object_scope",
    "register_keras_serializable", "get_custom_objects", "import_module", "extract", "extractall", "get_file", "unpack_archive",
}  # fmt: skip


def faults(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] in MODULES:
            yield node.module or ""
        elif isinstance(node, ast.Attribute) and node.attr in CALLS:
            yield node.attr
        elif isinstance(node, ast.Name) and node.id in NAMES | CALLS:
            yield node.id
        elif isinstance(node, ast.Call):
            yield from options(node)


def options(call: ast.Call) -> Iterator[str]:
    """`allow_pickle` and `safe_mode` are only ever given the safe value."""
    safe = {"allow_pickle": False, "safe_mode": True}
    for option in call.keywords:
        if option.arg in safe and ast.unparse(option.value) != str(safe[option.arg]):
            yield f"{option.arg}={ast.unparse(option.value)}"
    if ast.unparse(call.func) in ("np.load", "numpy.load") and "allow_pickle" not in {one.arg for one in call.keywords}:
        yield "np.load without allow_pickle=False"


@pytest.mark.parametrize("path", LOAD_PATH, ids=lambda path: path.name)
def test_the_source_of_loading_runs_nothing(path: Path) -> None:
    assert list(faults(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from urllib.request import urlopen",
        "keras.saving.load_model(p)",
        "eval(text)",
        "layer.from_config(c)",
        "archive.extractall(p)",
        "np.load(p)",
        "np.load(p, allow_pickle=True)",
        "load = keras.saving.load_model",
    ],
)
def test_the_test_finds_what_runs_code(source: str) -> None:
    assert list(faults(ast.parse(source)))


def test_loading_imports_no_other_module_of_the_house() -> None:
    """A module that loading starts to use has to be in the list above, or to be known not to see the file."""
    known = {
        "_common.arguments",
        "_common.console",
        "_common.files",
        "_common.remote",
        "_common.sharing",
        "_common.version",
        "backbones",
        "errors",
        "features",
        "images",
        "network",
        "results",
    }
    used = set()
    for path in (HOUSE / "saving").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 2:
                module = node.module or ""
                used.add(module if module.startswith("_common") else module.split(".")[0])
    assert used <= known


FORBIDDEN = (
    "exec", "compile", "import", "pickle.find_class", "marshal.loads", "subprocess.Popen", "os.system", "os.exec",
    "os.posix_spawn", "os.fork", "socket.connect", "socket.getaddrinfo", "urllib.Request", "ctypes.dlopen",
)  # fmt: skip


@pytest.fixture(scope="module")
def watched() -> Iterator[list[tuple[str, str]]]:
    """What Python's audit hooks report of this thread, while the list is cleared and read."""
    seen: list[tuple[str, str]] = []
    is_on, thread = True, threading.get_ident()

    def watch(event: str, arguments: tuple[object, ...]) -> None:  # a hook cannot be taken away again
        if is_on and threading.get_ident() == thread:
            if event in FORBIDDEN:
                seen.append((event, repr(arguments)[:200]))
            elif event == "open" and isinstance(arguments[0], (str, bytes)):
                seen.append((event, os.fsdecode(arguments[0])))

    sys.addaudithook(watch)
    yield seen
    is_on = False


def test_loading_imports_runs_and_opens_nothing_else(saved_file: Path, watched: list[tuple[str, str]]) -> None:
    tk.TransferClassifier.load(saved_file)  # imports what it needs
    watched.clear()
    tk.TransferClassifier.load(saved_file)
    own = (str(saved_file), f"{tempfile.gettempdir()}/transferkit-")
    assert ("open", str(saved_file)) in watched
    assert [event for event in watched if event[0] != "open" or not event[1].startswith(own)] == []


def test_a_config_that_names_code_is_not_read(saved_file: Path, watched: list[tuple[str, str]]) -> None:
    """A `Lambda` layer holds code; plain Keras would build it from this member."""
    code = base64.b64encode(marshal.dumps(compile("open('marker', 'w')", "x", "eval"))).decode()
    layer = {"class_name": "Lambda", "config": {"function": {"class_name": "__lambda__", "config": {"code": code}}}}
    config = {"module": "os", "class_name": "system", "config": {"layers": [layer], "command": "touch marker"}}
    with_member(saved_file, "config.json", json.dumps(config).encode())
    with_member(saved_file, "metadata.json", b"[" * 100_000)
    watched.clear()
    tk.TransferClassifier.load(saved_file)
    assert [event for event in watched if event[0] != "open"] == []
    assert not Path("marker").exists()
