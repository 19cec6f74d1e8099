"""Pages of which other sites may use this server, by the list an operator made."""

import re
from typing import Final

ANY: Final = "*"
_ORIGIN: Final = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?")


def parse_origins(text: str) -> frozenset[str]:
    """The origins of a comma list, as `https://app.example.com`; or `*`, which stands alone. Raises ValueError."""
    origins = frozenset(part.strip() for part in text.split(",") if part.strip())
    if ANY in origins and len(origins) > 1:
        raise ValueError("`*` stands alone: it means every page there is")
    wrong = sorted(origin for origin in origins - {ANY} if _ORIGIN.fullmatch(origin) is None)
    if wrong:
        raise ValueError(f"{wrong[0]}: an origin is a scheme, a host in lower case and perhaps a port, without a path")
    return origins
