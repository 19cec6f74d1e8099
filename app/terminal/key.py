"""The key that commands show a server: from the environment, so that it stands in no list of processes."""

import os
from typing import Final

VARIABLE: Final = "TANDEM_KEY"


def key_headers() -> dict[str, str]:
    """The header with the key, if there is one."""
    key = os.environ.get(VARIABLE, "").strip()
    return {"Authorization": f"Bearer {key}"} if key else {}
