"""Saved classifiers that an attacker could write: changed at will, with the hash that fits."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transferkit.saving.archive import seal

__all__ = ["forge", "manifest_of", "members_of", "with_manifest", "with_member"]


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def manifest_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(members_of(path)["transferkit.json"])
    return content


def forge(
    path: Path, members: Mapping[str, bytes], *, also: Callable[[zipfile.ZipFile], object] = lambda archive: None
) -> Path:
    """Write a file of these members, and of what `also` adds, with its hash."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        also(archive)
    seal(path)
    return path


def with_member(path: Path, name: str, content: bytes | None) -> Path:
    """Replace a member of the file, add it, or drop it."""
    members = members_of(path)
    members.pop(name, None)
    return forge(path, members if content is None else {**members, name: content})


def with_manifest(path: Path, **changes: Any) -> Path:
    """Change fields of ``transferkit.json``."""
    return with_member(path, "transferkit.json", json.dumps({**manifest_of(path), **changes}).encode())
