"""The key that commands show a server: from the environment, so that it stands in no list of processes."""

import os
import re
from typing import Final

from app.errors import MalformedRequest

VARIABLE: Final = "TANDEM_KEY"
_KEY: Final = re.compile(r"[!-~]*")


def key_headers() -> dict[str, str]:
    """The header with the key, if there is one. One that no header can carry is refused, and not repeated."""
    key = os.environ.get(VARIABLE, "").strip()
    if _KEY.fullmatch(key) is None:
        raise MalformedRequest(f"{VARIABLE}: a key has neither spaces nor special characters")
    return {"Authorization": f"Bearer {key}"} if key else {}
