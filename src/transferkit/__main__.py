"""The command ``transferkit``, or ``python -m transferkit``.

Each command makes one or two calls to the public API, with their arguments as options. An option that is left out is
not passed on, so defaults are defined only in the API. Names are written ``tk.name``, so that TensorFlow is imported
only by commands that need it.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import transferkit as tk

from ._common.arguments import check_parent
from .errors import bad_argument

SKIP = "on_bad_image='skip'"  # as errors name it
CHUNK = 256  # photos per call of `predict`, which stores no values of smaller calls

Asked: TypeAlias = argparse.Namespace
Command: TypeAlias = Callable[[Asked], object]


def number_or_text(text: str) -> float | str:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            if text[:1] in "+-.0123456789":  # "nan" and "inf" may be folders
                return kind(text)
    return text


def none_or_text(text: str) -> str | None:
    return None if text == "none" else text


def size(text: str) -> int | tuple[int, ...]:
    sides = tuple(map(int, text.split("x")))
    return sides[0] if len(sides) == 1 else sides


# Every argument and option by name; those without a type are text.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "data": {"help": "folder with one folder per class"},
    "model": {"help": "file of the classifier, ending in .keras"},
    "path": {"help": "what to write: .onnx, .tflite, .xml (OpenVINO), or a folder (SavedModel)"},
    "images": {"nargs": "+", "help": "photos, folders, or - for paths on standard input, one per line"},
    "--augmentation": {"choices": ["light"], "help": "random changes of the training images"},
    "--backbone": {"help": "as listed by `transferkit backbones`"},
    "--backbones": {"nargs": "+", "metavar": "NAME", "help": "as listed by `transferkit backbones`"},
    "--batch-size": {"type": int, "help": "images per step, where the head is trained by steps"},
    "--budget": {"type": number_or_text, "help": "how long it may take: seconds, or for example 5min"},
    "--cache": {"metavar": "FOLDER", "help": "for stored values, instead of the user's cache"},
    "--calibrate": {"metavar": "FOLDER", "help": "photos to measure activations on, for int8"},
    "--check": {"metavar": "FOLDER", "help": "photos to compare on"},
    "--class-weight": {"choices": ["balanced"]},
    "--clear": {"action": "store_true", "help": "remove all values"},
    "--dropout": {"type": float, "help": "share of the features that each step leaves out"},
    "--epochs": {"type": int, "help": "train the head by steps, for so many epochs, instead of solving for it"},
    "--family": {"help": "VGG, for example"},
    "--figure": {"required": True, "metavar": "FILE", "help": "PNG file to write"},
    "--fine-tune": {"nargs": "?", "type": number_or_text, "metavar": "AT", "help": "then fine-tune, from layer AT on"},
    "--folder": {"metavar": "FOLDER", "dest": "path", "help": "for stored values, instead of the user's cache"},
    "--format": {"choices": ["csv", "jsonl"], "help": "CSV (default), or one JSON object per line", "default": "csv"},
    "--html": {"metavar": "FILE", "help": "HTML page to write as well"},
    "--input-size": {"type": size, "metavar": "PX", "help": "for example 224, or 224x320 (height x width)"},
    "--learning-rate": {"type": float, "help": "train the head by steps, at this rate"},
    "--limit": {"type": int, "metavar": "BYTES", "help": "store no more than this from now on"},
    "--max-parameters": {"type": int, "metavar": "COUNT"},
    "--min-confidence": {"type": float, "metavar": "SHARE", "help": "no label below this probability, 0 to 1"},
    "--no-cache": {"dest": "cache", "action": "store_false", "help": "store no values"},
    "--on-bad-image": {"choices": ["raise", "skip"], "help": "stop at photos that cannot be read, or skip them"},
    "--precision": {"choices": ["float32", "bfloat16", "auto"], "help": "of the frozen layers"},
    "--probabilities": {"action": "store_true", "default": False, "help": "also write the probability of each class"},
    "--quantize": {"choices": ["float16", "dynamic", "int8"]},
    "--quiet": {"dest": "verbose", "action": "store_const", "const": 0, "help": "no messages and no progress bars"},
    "--resize": {"choices": ["squash", "crop", "pad"], "help": "how to fit photos of another aspect ratio"},
    "--resume": {"metavar": "FOLDER", "help": "save the state here: the same command continues after a stop"},
    "--seed": {"type": int, "help": "the same seed gives the same result"},
    "--test": {"metavar": "FOLDER", "help": "test images to check as well"},
    "--typicality": {"action": "store_true", "default": False, "help": "also write how typical each is, 0 to 1"},
    "--validation": {"type": number_or_text, "metavar": "FOLDER", "help": "validation images to check as well"},
    "--unlabelled": {"metavar": "FOLDER", "help": "photos without labels to learn from as well"},
    "--views": {"type": int, "metavar": "COUNT", "help": "2 = average over each image and its mirror image"},
    "--weights": {"type": none_or_text, "help": "pretrained, imagenet, none, or the path of a file"},
}
# What is different in `fit`.
OF_FIT = {
    "--validation": {"metavar": "FOLDER_OR_SHARE", "help": "validation images, or the share to hold out"},
    "--views": {"help": "with --augmentation: versions of each image, which are computed once"},
}
CONSTRUCTOR = (
    "backbone", "weights", "input_size", "resize", "dropout", "augmentation", "views", "cache", "precision", "seed",
)  # fmt: skip
TRAINING = ("validation", "epochs", "batch_size", "learning_rate", "class_weight", "unlabelled", "resume")
CALL = ("on_bad_image", "verbose")
STORE, EACH = ("--cache", "--no-cache"), ("--on-bad-image", "--quiet")  # options that come together

_commands: dict[str, tuple[Command, str, tuple[str, ...]]] = {}


def command(text: str, *arguments: str) -> Callable[[Command], Command]:
    """A command: its help, its arguments and the names of its options."""

    def register(run: Command) -> Command:
        _commands[run.__name__] = run, text, arguments
        return run

    return register


def options(*names: str) -> list[str]:
    return [f"--{name.replace('_', '-')}" for name in names]


def name_skipped(skipped: Mapping[str, str]) -> None:
    """Say on standard error which photos were left out, and why."""
    for path, reason in skipped.items():
        print(f"transferkit: {path}: {reason}", file=sys.stderr)


# ---- the commands ----


@command("List the faults of a data set; exit with 1 if there are serious ones.",
         "data", "--validation", "--test", "--html", *STORE, "--quiet")  # fmt: skip
def check(asked: Asked) -> int:
    check_page(asked)
    report = tk.check_images(asked.data, **given(asked, "validation", "test", "cache", "verbose"))
    if "html" in asked:
        report.html(asked.html)
    print(report)
    return 0 if report.ok else 1


@command("Train a classifier on a folder of photos and save it.",
         "data", "model", *options(*CONSTRUCTOR, *TRAINING), "--fine-tune", "--no-cache", *EACH)  # fmt: skip
def fit(asked: Asked) -> None:
    from ._common.console import Console
    from .saving import check_target

    check_target(asked.model)  # before hours of training
    clf = tk.TransferClassifier(**given(asked, *CONSTRUCTOR))
    clf.fit(asked.data, **given(asked, *TRAINING, *CALL))
    if "fine_tune" in asked:
        clf.save(asked.model)  # kept even if fine_tune fails
        Console(asked.verbose if "verbose" in asked else 1).say(f"The classifier of fit is saved in {asked.model!r}.")
        clf.fine_tune(at=asked.fine_tune, **given(asked, "resume", *CALL))
    name_skipped(clf.history_.skipped)
    clf.save(asked.model)
    print(clf.summary())


@command("Measure a classifier on labelled photos.",
         "model", "data", "--html", "--views", *STORE, *EACH)  # fmt: skip
def evaluate(asked: Asked) -> None:
    check_page(asked)
    evaluation = loaded(asked).evaluate(asked.data, **given(asked, "views", *CALL))
    if "html" in asked:
        evaluation.html(asked.html)
    name_skipped(evaluation.predictions.skipped)
    print(evaluation)


@command("Write the class of each photo to standard output.",
         "model", "images", "--format", "--probabilities", "--typicality", "--min-confidence", "--views",
         *STORE, *EACH)  # fmt: skip
def predict(asked: Asked) -> None:
    clf = loaded(asked)
    names = [str(name) for name in clf.classes_] if asked.probabilities else []
    table = csv.writer(sys.stdout, lineterminator="\n")
    if asked.format == "csv":
        columns = ["path", "label", "confidence", *(["typicality"] if asked.typicality else [])]
        table.writerow([*columns, *(f"probability of {name}" for name in names)])
        sys.stdout.flush()  # shows readers that it waits for paths
    for paths in chunks(paths_of(asked)):
        with contextlib.redirect_stdout(sys.stderr):  # messages must not get among the answers
            found = clf.predict(paths, **given(asked, "min_confidence", "views", *CALL))
        name_skipped(found.skipped)
        for one, row in zip(found, found.probabilities.astype(float).round(6).tolist(), strict=True):
            sure: Any = one.confidence  # with several labels per image a tuple, and so is the label
            rounded = [round(p, 6) for p in sure] if isinstance(sure, tuple) else round(sure, 6)
            answer: dict[str, Any] = {"path": one.path, "label": one.label, "confidence": rounded}
            if asked.typicality:  # JSON has no NaN
                answer["typicality"] = None if math.isnan(one.typicality) else round(one.typicality, 6)
            if asked.format == "csv":
                cells = (
                    ";".join(map(str, cell)) if isinstance(cell, (tuple, list)) else cell for cell in answer.values()
                )
                table.writerow([*cells, *row[: len(names)]])
            else:
                more = {"probabilities": dict(zip(names, row, strict=True))} if names else {}
                print(json.dumps(answer | more, ensure_ascii=not is_utf8(str(one.path))))
        sys.stdout.flush()


@command("Compare backbones on a folder of photos.",
         "data", "--backbones", "--budget", "--seed", *STORE, *EACH)  # fmt: skip
def compare(asked: Asked) -> None:
    print(tk.compare(asked.data, **given(asked, "backbones", "budget", "seed", "cache", *CALL)))


@command("Draw heatmaps of the parts of photos that support the predicted class.",
         "model", "images", "--figure", *STORE, *EACH)  # fmt: skip
def explain(asked: Asked) -> None:
    if Path(asked.figure).suffix.lower() != ".png":
        raise bad_argument("--figure", asked.figure, "must end in .png", "Pass for example --figure explained.png")
    check_parent("--figure", Path(asked.figure))
    found = loaded(asked).explain(list(paths_of(asked)), **given(asked, *CALL))
    name_skipped(found.skipped)
    found.plot().savefig(asked.figure, format="png")


@command("Export a classifier to another runtime, and compare the two.",
         "model", "path", "--check", "--quantize", "--calibrate", "--quiet")  # fmt: skip
def export(asked: Asked) -> None:
    print(loaded(asked).export(asked.path, **given(asked, "check", "quantize", "calibrate", "verbose")))


@command("Show, limit or clear the values that are stored on disk.", "--folder", "--limit", "--clear")
def cache(asked: Asked) -> None:
    where = given(asked, "path")
    if "limit" in asked:
        tk.cache.set_limit(asked.limit, **where)
    if "clear" in asked:
        tk.cache.clear(**where)
    print(tk.cache.info(**where))


@command("List the backbones.", "--family", "--max-parameters", "--input-size")
def backbones(asked: Asked) -> None:
    print("\n".join(tk.list_backbones(**given(asked, "family", "max_parameters", "input_size"))))


# ---- shared by the commands ----


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.formatwarning = lambda message, *_, **__: f"transferkit: {message}\n"
    try:
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="surrogateescape")  # file names need not be UTF-8
        if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
            # The default of Windows lacks most letters.
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
        if sys.stdout is None:  # the shell has closed it
            raise OSError("standard output is closed")
        asked = parser().parse_args(arguments)
        if asked.run not in (cache, backbones):  # which do not use it
            import_tensorflow()
        status = asked.run(asked)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130  # the status in a shell of a program stopped by Ctrl-C
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python writes the rest at exit
        return 141
    except (tk.TransferKitError, OSError) as error:
        text = str(error).replace("check_images(data)", "`transferkit check`")
        print(f"transferkit: {text.replace(SKIP, '--on-bad-image skip')}", file=sys.stderr)
        return 2
    return status or 0


def import_tensorflow() -> None:
    """Import TensorFlow without the lines that it prints on standard error before any of its settings apply."""
    if sys.stderr is None:  # the shell has closed it
        return
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import_module("tensorflow")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    whole = argparse.ArgumentParser("transferkit", description="Train, check and use image classifiers.")
    whole.add_argument("--version", action="version", version=tk.__version__)
    added = whole.add_subparsers(metavar="COMMAND", required=True)
    for name, (run, text, arguments) in _commands.items():
        # Options at the end: some of them take any number of values, also those that come after them.
        places = [
            f"{argument} ..." if argument == "images" else argument for argument in arguments if argument[0] != "-"
        ]
        usage = " ".join(["%(prog)s", *places, "[options]"])
        one = added.add_parser(name, help=text, description=text, usage=usage, argument_default=argparse.SUPPRESS)
        one.set_defaults(run=run)
        for argument in arguments:
            one.add_argument(argument, **ARGUMENTS[argument] | (OF_FIT.get(argument, {}) if name == "fit" else {}))
    return whole


def given(asked: Asked, *names: str) -> dict[str, Any]:
    """Those of the named options that were given, by name."""
    return {name: value for name, value in vars(asked).items() if name in names}


def check_page(asked: Asked) -> None:
    """Refuse a page that cannot be written before the work, not after it."""
    from .results import page_path

    for path in given(asked, "html").values():
        page_path(path)


def loaded(asked: Asked) -> tk.TransferClassifier:
    return tk.TransferClassifier.load(asked.model).set_params(**given(asked, "cache"))


def paths_of(asked: Asked) -> Iterator[str]:
    """The photos that the arguments name, one at a time."""
    from ._common.remote import Remote, located
    from .images import list_files

    lenient = given(asked, "on_bad_image").get("on_bad_image") == "skip"
    for text in asked.images:
        if text == "-":
            yield from filter(None, (line.rstrip("\r\n") for line in sys.stdin))
            continue
        place = located(text)
        is_folder = not place.is_web if isinstance(place, Remote) else place.is_dir()
        if not is_folder:
            yield text
            continue
        found = list_files(place, lenient)
        name_skipped({str(folder): reason for folder, reason in found.unreadable})
        for file in found.files:
            yield file.url if isinstance(file, Remote) else str(file)


def is_utf8(text: str) -> bool:
    """Whether a path can be written as UTF-8, which JSON has to be."""
    return text.encode(errors="replace").decode() == text


def chunks(paths: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(itertools.islice(paths, CHUNK)):
        yield chunk


if __name__ == "__main__":
    sys.exit(main())
