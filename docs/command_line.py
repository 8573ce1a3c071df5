"""Write the help of each command into `command-line.md`: ``python docs/command_line.py``."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from transferkit.__main__ import parser

PAGE = Path(__file__).with_name("command-line.md")
HELP = re.compile(r"(?<=```text\n)usage: transferkit (\w+).*?(?=```)", re.DOTALL)


def helps() -> dict[str, str]:
    """Command -> what its ``--help`` prints on 100 columns."""
    os.environ["COLUMNS"] = "100"
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    return {name: command.format_help() for name, command in commands.choices.items()}


def rendered(page: str) -> str:
    """The page with each help replaced."""
    found = helps()
    return HELP.sub(lambda match: found[match[1]], page)


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
