"""``python -m transferkit``: the same as the command ``transferkit``."""

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
