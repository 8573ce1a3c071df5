"""Requests that a first and a second `fit` make to a bucket, counted at an S3 server of this machine.

    python benchmarks/bucket.py [--count 2000]

The photos are small ones, uploaded once; the backbone is TransferKitTiny. It needs the packages of the group `engines`.
"""

from __future__ import annotations

import argparse
import collections
import logging
import os
import re
import tempfile

from sides import folder_of

import transferkit as tk  # isort: skip  # after sides, which quiets TensorFlow

REQUEST = re.compile(r'"(\w+) /bucket(/[^? ]+)?\S* HTTP')  # the method, and the object if there is one


class Requests(logging.Handler):
    """Counts what the server answers."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: collections.Counter[str] = collections.Counter()

    def emit(self, record: logging.LogRecord) -> None:
        if found := REQUEST.search(record.getMessage()):
            self.kinds[f"{found[1]} of {'an object' if found[2] else 'the bucket'}"] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    asked = parser.parse_args()
    import fsspec
    from moto.server import ThreadedMotoServer

    photos = sorted((folder_of("cifar10_large") / "test").rglob("*.*"))
    photos = photos[:: max(1, len(photos) // asked.count)][: asked.count]
    requests = Requests()
    logger = logging.getLogger("werkzeug")
    logger.setLevel(logging.INFO)
    logger.handlers, logger.propagate = [requests], False
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    names = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "key", "SECRET_ACCESS_KEY": "secret"}
    os.environ.update({f"AWS_{name}": value for name, value in names.items()}, AWS_DEFAULT_REGION="us-east-1")
    files = fsspec.filesystem("s3")
    files.mkdir("bucket")
    files.put([str(path) for path in photos], [f"bucket/photos/{path.parent.name}/{path.name}" for path in photos])
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "second"):
            requests.kinds.clear()
            clf = tk.TransferClassifier("TransferKitTiny", input_size=64, cache=folder, seed=0)
            clf.fit("s3://bucket/photos", verbose=0)
            seen = ", ".join(f"{kind} {count:,}" for kind, count in sorted(requests.kinds.items()))
            print(f"{len(photos):,} photos, {name} fit: {seen}", flush=True)
    server.stop()


if __name__ == "__main__":
    main()
