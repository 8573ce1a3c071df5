"""What `export` measured about the file that it wrote."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .._public import public_in_room
from .text import Printed, Table, figure_text


@public_in_room
@dataclass(frozen=True)
class ExportReport(Printed):
    """How an exported file, run in its own runtime, compares with the classifier on the same images; prints as a table.

    Attributes:
        path: the file, or the folder of a SavedModel.
        labels_path: the JSON file beside it, with the class names in the order of the probabilities, and with several
            labels per image, the thresholds.
        format: ``"SavedModel"``, ``"ONNX"``, ``"LiteRT"`` or ``"OpenVINO"``.
        quantize: the argument of `export`.
        images: how many images were compared.
        difference: the largest difference between their probabilities, 0 to 1.
        same_answers: share of the images for which both give the same class, or exactly the same labels, 0 to 1.
        accuracy_before, accuracy: of the classifier and of the file, 0 to 1; with several labels per image, the share
            of images whose labels are all correct. None if the labels are not known.
        milliseconds_before, milliseconds: per image, in batches of eight, from pixels to probabilities; NaN for one
            image.
        size: bytes written, without the file of class names.
        note: what the figures do not show, if anything.
    """

    path: Path
    labels_path: Path
    format: str
    quantize: str | None
    images: int
    difference: float
    same_answers: float
    accuracy_before: float | None
    accuracy: float | None
    milliseconds_before: float
    milliseconds: float
    size: int
    note: str = ""

    def _parts(self) -> tuple[str, Table, str]:
        rows = [["milliseconds per image", figure_text(self.milliseconds_before, 1), figure_text(self.milliseconds, 1)]]
        if self.accuracy is not None and self.accuracy_before is not None:
            rows.insert(0, ["accuracy", f"{self.accuracy_before:.4f}", f"{self.accuracy:.4f}"])
        return self._headline(), (["", "classifier", "file"], rows), self.note and f"\n{self.note}"

    def __repr__(self) -> str:
        return f"<ExportReport: {self._headline()}>"

    def _headline(self) -> str:
        kind = f"{self.format}, {self.quantize}" if self.quantize else self.format
        return (
            f"{self.path.name} ({kind}, {self.size / 1e6:.1f} MB): the same answer for {self.same_answers:.1%} of "
            f"{self.images:,} images, probabilities differ by {self.difference:.1e} at most"
        )
