"""The console that commands print on."""

from typing import Final

from rich.console import Console

WIDE: Final = 160  # columns of what is piped: nobody folds it, and a file has no edge


def screen() -> Console:
    """As wide as the terminal, or wide enough for every table when there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)
