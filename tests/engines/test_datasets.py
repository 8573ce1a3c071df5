"""Data sets of Hugging Face."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Make

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")
pytestmark = [pytest.mark.engines, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("in_files", [False, True])
@pytest.mark.parametrize("decode", [False, True])
def test_a_dataset_equals_its_files(make: Make, photos: Path, decode: bool, in_files: bool) -> None:
    paths = sorted((photos / "train").rglob("*.png"))
    names = ["lying", "red", "standing"]
    images = [{"bytes": None if in_files else path.read_bytes(), "path": str(path)} for path in paths]
    features = datasets.Features({"image": datasets.Image(decode=decode), "label": datasets.ClassLabel(names=names)})
    columns = {"image": images, "label": [names.index(path.parent.name) for path in paths]}
    table = pyarrow.table(columns, schema=features.arrow_schema)
    data = datasets.Dataset(table, info=datasets.DatasetInfo(features=features), fingerprint="photos")
    clf, expected = make().fit(data, verbose=0), make().fit(photos / "train", verbose=0)
    assert clf.classes_.tolist() == names
    found = clf.predict_proba(data, verbose=0)
    assert found == pytest.approx(expected.predict_proba([str(path) for path in paths], verbose=0), abs=1e-6)
