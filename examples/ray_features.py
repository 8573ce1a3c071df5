"""Extract the features of a folder of photos on a Ray cluster, then fit a classifier on the stored features.

python examples/ray_features.py photos/train /shared/values pets.keras --workers 4

If it is stopped, start it again: it continues with the photos whose features are not stored. Needs transferkit[ray].
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import fsspec
import ray

import transferkit as tk


def photos_in(folder: str) -> list[str]:
    """The paths or the URLs of all photos below a folder."""
    files, start = fsspec.core.url_to_fs(folder)
    names = (name for name in files.find(start) if name.lower().endswith((".jpg", ".jpeg", ".png")))
    return [files.unstrip_protocol(name) if "://" in folder else name for name in names]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Extract features with Ray, and fit a classifier on them.")
    parser.add_argument("photos", help="folder with one folder per class, that every machine can read, or its URL")
    parser.add_argument("store", help="folder of values that every machine can write to")
    parser.add_argument("output", help="file for the classifier, ending in .keras")
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--workers", type=int, default=2, help="processes in the whole cluster")
    parser.add_argument("--cpus", type=float, default=1, help="CPUs of each")
    args = parser.parse_args(arguments)

    clf = tk.TransferClassifier(args.backbone, cache=args.store, seed=0)
    photos = ray.data.from_items([{"path": path} for path in photos_in(args.photos)])
    stored = photos.map_batches(
        tk.FeatureBatch,
        fn_constructor_kwargs={"classifier": clf, "store": args.store, "image": "path"},
        batch_size=1024,  # each batch is one file in the store
        compute=ray.data.ActorPoolStrategy(size=args.workers),
        num_cpus=args.cpus,
    )
    bad = [row for row in stored.iter_rows() if row["error"]]
    print(f"{len(bad)} photos cannot be read")
    clf.fit(args.photos, on_bad_image="skip")
    clf.save(args.output)


if __name__ == "__main__":
    main()
