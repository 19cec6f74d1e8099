"""The console that commands print on."""

import sys
from typing import Final

from rich.console import Console

WIDE: Final = 160  # columns of what is piped: nobody folds it, and a file has no edge


def screen() -> Console:
    """As wide as the terminal; wide enough for every table when there is none, whatever FORCE_COLOR says."""
    if sys.stdout.isatty():
        return Console(highlight=False, emoji=False)
    return Console(highlight=False, emoji=False, width=WIDE, force_terminal=False)
