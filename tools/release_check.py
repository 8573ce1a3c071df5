"""Check that a release is ready, then print the remaining steps.

python tools/release_check.py
"""
# ruff: noqa: T201

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEPS = """\
Ready to release {version}. What remains to be done by hand:
  1. Check that CI is green for this commit.
  2. .venv/bin/python -m hatchling build
  3. Install the wheel from dist/ into an empty environment, and run examples/quickstart.py there.
  4. git tag -a v{version} -m "transferkit {version}" && git push --follow-tags
  5. Publish the files in dist/, and copy the section of CHANGELOG.md into the release notes.
  6. Raise the version in src/transferkit/_common/version.py, with ".dev0" at its end."""


def found(pattern: str, file: str) -> str:
    """The first match of a pattern in a file of the project; empty if there is none."""
    match = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else ""


def output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def missing_from_wheel() -> set[str]:
    """Tracked files of the package that a wheel built from this tree lacks."""
    tracked = {name.removeprefix("src/") for name in output("git", "ls-files", "src").split()}
    with tempfile.TemporaryDirectory() as folder:
        output(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return tracked - set(archive.namelist())


def main() -> None:
    version = found(r'^__version__ = "(.+)"', "src/transferkit/_common/version.py")
    released = found(r"^## \[(\d[^]]*)\] - \d{4}-\d{2}-\d{2}$", "CHANGELOG.md")
    cited = found(r"^version: (.+)$", "CITATION.cff")
    unreleased = found(r"^## \[Unreleased\]\s+(?!## )(\S.*)", "CHANGELOG.md")
    problems = [
        ".dev" in version and f"{version} is a development version",
        released != version and f"CHANGELOG.md: the newest release is {released}, the version is {version}",
        unreleased and f"CHANGELOG.md: changes are still under Unreleased: {unreleased}",
        cited != version and f"CITATION.cff has version {cited}, the version is {version}",
        output("git", "status", "--porcelain") and "git: there are changes that are not committed",
        output("git", "tag", "--list", f"v{version}") and f"git: the tag v{version} exists",
    ]
    problems += [f"wheel: {name} is missing" for name in sorted(missing_from_wheel())]
    if any(problems):
        sys.exit("\n".join(filter(None, problems)))
    print(STEPS.format(version=version))


if __name__ == "__main__":
    main()
