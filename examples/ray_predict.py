"""Classify every photo in a folder or a bucket on a Ray cluster, into Parquet files.

python examples/ray_predict.py pets.keras photos/new predictions --workers 4

If it is stopped, start it again: it continues with the photos that have no prediction yet. Needs transferkit[ray].
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import ray

import transferkit as tk

# Set explicitly: if all photos of a file can be read, the type of `error` cannot be inferred.
SCHEMA = pa.schema([("path", "string"), ("label", "string"), ("confidence", "float32"), ("error", "string")])


def photos_in(folder: str) -> list[str]:
    """The paths or the URLs of all photos below a folder."""
    files, start = fsspec.core.url_to_fs(folder)
    names = (name for name in files.find(start) if name.lower().endswith((".jpg", ".jpeg", ".png")))
    return [files.unstrip_protocol(name) if "://" in folder else name for name in names]


def answered(output: Path) -> set[str]:
    """The photos that have a prediction; files that were incomplete when the program was stopped are removed."""
    paths: set[str] = set()
    for file in output.glob("*.parquet"):
        try:
            paths.update(pq.read_table(file, columns=["path"])["path"].to_pylist())
        except pa.ArrowInvalid:  # noqa: PERF203
            file.unlink()
    return paths


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Classify the photos in a folder or a bucket with Ray.")
    parser.add_argument("classifier", help="path or URL that every machine can read")
    parser.add_argument("photos", help="a folder that every machine can read, or a URL such as s3://bucket/photos")
    parser.add_argument("output", type=Path, help="folder for the Parquet files")
    parser.add_argument("--workers", type=int, default=2, help="processes in the whole cluster")
    parser.add_argument("--cpus", type=float, default=1, help="CPUs of each")
    args = parser.parse_args(arguments)

    done = answered(args.output)
    todo = [{"path": path} for path in photos_in(args.photos) if path not in done]
    print(f"{len(done)} photos have an answer, {len(todo)} have none yet")
    if todo:
        photos = ray.data.from_items(todo)
        answers = photos.map_batches(
            tk.PredictBatch,
            fn_constructor_kwargs={"classifier": args.classifier, "image": "path"},
            batch_size=256,
            compute=ray.data.ActorPoolStrategy(size=args.workers),
            num_cpus=args.cpus,
        )
        answers.write_parquet(str(args.output.absolute()), mode="append", schema=SCHEMA)


if __name__ == "__main__":
    main()
