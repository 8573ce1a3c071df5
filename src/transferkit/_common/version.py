"""The version of transferkit, and a report of the versions of what it runs on."""

import platform
from importlib import metadata

from .._public import public

__version__ = "0.2.0.dev0"

PACKAGES = (
    "transferkit", "tensorflow", "keras", "numpy", "scikit-learn", "pillow", "pooch", "requests", "rich", "h5py", "keras-hub",
    "fsspec", "ray", "matplotlib", "pandas", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "openvino",
)  # fmt: skip


@public
def show_versions() -> None:
    """Print the versions of transferkit, of Python and of the packages that it uses, for a bug report.

    Example:
        >>> import transferkit as tk
        >>> tk.show_versions()  # doctest: +SKIP
        Python 3.11.7 on Linux-6.1-x86_64
        transferkit 0.2.0
        ...
    """
    print(f"Python {platform.python_version()} on {platform.platform()}")
    print("\n".join(f"{package} {_installed(package)}" for package in PACKAGES))


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
