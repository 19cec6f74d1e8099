"""From which address a request comes, when proxies that are trusted say for whom they ask."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


def parse_networks(text: str) -> tuple[Network, ...]:
    """The networks of a comma list, as `10.0.0.0/8, ::1`. Raises ValueError."""
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"must be a comma list of addresses or networks, as 10.0.0.0/8: {error}") from None


def client_address(peer: str | None, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Who is behind the peer that connected. forwarded: the values of X-Forwarded-For, which anybody may have begun.

    Read from its end, for each proxy appends who it was asked by: the first that is not trusted is the client. Of an
    IPv6 client the network, since it has 2**64 addresses.
    """
    address = _parsed(peer or "")
    if address is None:
        return peer or "unknown"
    for named in reversed(",".join(forwarded).split(",")) if forwarded else ():
        if not any(address in network for network in trusted):
            break
        further = _parsed(named)
        if further is None:
            break
        address = further
    return str(address) if address.version == 4 else str(ip_network((address, 64), strict=False))


def _parsed(text: str) -> Address | None:
    """An address, perhaps in brackets or with a port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address
