"""Configuration of Sphinx: python -m sphinx -W --keep-going -b html docs docs/_build/html"""

import os
import re
import runpy
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # autodoc imports TensorFlow

project = "transferkit"
author = "the transferkit authors"
project_copyright = "the transferkit authors"
_version_file = Path(__file__).parents[1] / "src" / "transferkit" / "_common" / "version.py"
release = version = re.search(r'__version__ = "(.+)"', _version_file.read_text(encoding="utf-8"))[1]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
# Single backticks in docstrings: a link where the name is documented, code where it is not.
default_role = "py:obj"
myst_heading_anchors = 3

autodoc_typehints = "none"  # the text of an argument says more than its type, and the signature shows it as well
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"transferkit {release}"


def setup(app):
    """The pictures are drawn before the pages that show them are read."""
    draw = runpy.run_path(str(Path(__file__).with_name("pictures.py")))["draw"]
    app.connect("builder-inited", lambda _: draw(Path(app.srcdir) / "_build" / "pictures"))
