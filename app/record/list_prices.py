"""The providers' list prices, as the installed genai-prices has them; heavy to import, and it asks nobody anything.

Its own updates over the network happen only when somebody starts them, and nobody does.
"""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from urllib.parse import urlsplit

from genai_prices import Usage, __version__, calc_price
from genai_prices.types import PriceCalculation, TieredPrices, TimeOfDateConstraint

from app.record.prices import Tariff

VERSION: Final = f"genai-prices {__version__}"

_NANO_A_TOKEN: Final = 1000  # for a dollar a million tokens
# With one of these a sum over the tokens we know would be too low.
_NOT_BY_TOKEN: Final = ("requests_kcount", "output_reasoning_mtok", "output_citation_mtok")


def lookup(model: str, base_url: str | None) -> Tariff | None:
    """The list price of today, of `vertex:model`, or of `openai:model` at the base URL of a provider that is known.

    A price in tiers is taken at its base, which is what a short prompt costs. None when no list has the model, and
    when its price depends on the hour or on more than tokens: a number that may be wrong is worse than none.
    """
    provider, _, name = model.partition(":")
    if provider == "vertex":
        return _tariff(name, provider_id="google")
    if provider == "openai" and base_url is not None:
        return _tariff(name, provider_api_url=base_url)
    return None


def _tariff(name: str, **provider: str) -> Tariff | None:
    try:
        found = calc_price(Usage(), name, genai_request_timestamp=datetime.now(UTC), **provider)  # type: ignore[call-overload]
    except (LookupError, ValueError):
        return None
    if not _same_host(found, provider.get("provider_api_url")) or not _by_token(found):
        return None
    prices = found.model_price
    input_nano, output_nano = _nano(prices.input_mtok), _nano(prices.output_mtok)
    if input_nano is None or output_nano is None:
        return None
    return Tariff(input_nano, output_nano, _nano(prices.cache_read_mtok), VERSION)


def _same_host(found: PriceCalculation, base_url: str | None) -> bool:
    """Whether the provider's pattern took the whole host, not only the beginning of somebody else's."""
    if base_url is None:
        return True
    match = re.match(found.provider.api_pattern, base_url)
    host_end = base_url.find("/", base_url.find("://") + 3)
    return match is not None and (host_end < 0 or match.end() >= host_end) and bool(urlsplit(base_url).hostname)


def _by_token(found: PriceCalculation) -> bool:
    prices = found.model.prices
    by_hour = isinstance(prices, list) and any(isinstance(p.constraint, TimeOfDateConstraint) for p in prices)
    return not by_hour and all(getattr(found.model_price, key) is None for key in _NOT_BY_TOKEN)


def _nano(price: Any) -> float | None:  # noqa: ANN401  # a Decimal, tiers of them, or None
    """Nano-dollars a token of a price in dollars a million."""
    base = price.base if isinstance(price, TieredPrices) else price
    return float(base * _NANO_A_TOKEN) if isinstance(base, Decimal) else None
