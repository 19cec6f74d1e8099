"""API keys and session cookies: how they are made, told from guesses without a look at any store, and kept as a hash.

A key is `tandem_<id>_<secret><check>`. The check is made with the server's pepper, so that whatever was never issued is
refused here, however much of it comes. A cookie is a key's id and an end, signed with the same pepper.
"""

import hmac
import re
import secrets
import string
from typing import Final, NamedTuple

ID_CHARS: Final = 12
SECRET_CHARS: Final = 43  # 256 bits
CHECK_CHARS: Final = 8  # in hex: of 2**32 guesses one is looked up
NONCE_CHARS: Final = 22
PEPPER_CHARS: Final = 32
PEPPER_WANTED: Final = (
    "set KEY_PEPPER to at least 32 characters, the same on every instance, as `openssl rand -hex 32` makes them, and "
    "keep it: under another one no key is good"
)
CREDENTIAL: Final = re.compile(rf"tandem_[a-z0-9]{{{ID_CHARS}}}_[A-Za-z0-9-]{{20,}}")  # a key or a cookie in any text

_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_TOKEN: Final = re.compile(rf"tandem_([a-z0-9]{{{ID_CHARS}}})_[A-Za-z0-9]{{{SECRET_CHARS}}}[0-9a-f]{{{CHECK_CHARS}}}")
_COOKIE: Final = re.compile(
    rf"(tandem_([a-z0-9]{{{ID_CHARS}}})_([A-Za-z0-9]{{{NONCE_CHARS}}})-([0-9]{{1,12}}))-([0-9a-f]{{64}})"
)


class Claim(NamedTuple):
    """What somebody showed, found genuine: to be looked up. A key has a digest, a cookie the name of its session."""

    key_id: str
    digest: bytes | None = None
    session: str | None = None
    ends_at: float | None = None


class Minted(NamedTuple):
    """A new key: the token is shown once, the digest is kept."""

    key_id: str
    token: str
    digest: bytes


class Seal:
    """The server's pepper, and all that is done with it. Every comparison takes the same time whatever differs."""

    def __init__(self, pepper: str) -> None:
        self._hmac = hmac.new(pepper.encode(), digestmod="sha256")

    def mint(self) -> Minted:
        """A key that nobody has had."""
        key_id = _random(string.digits + string.ascii_lowercase, ID_CHARS)
        body = f"tandem_{key_id}_{_random(_DIGITS, SECRET_CHARS)}"
        token = body + self._check(body)
        return Minted(key_id, token, self._mac("key", token))

    def read_key(self, token: str) -> Claim | None:
        """What a key claims; None for what was not made under this pepper."""
        match = _TOKEN.fullmatch(token)
        if match is None or not hmac.compare_digest(self._check(token[:-CHECK_CHARS]), token[-CHECK_CHARS:]):
            return None
        return Claim(match[1], self._mac("key", token))

    def cookie(self, key_id: str, ends_at: float) -> str:
        """A cookie of a new session that this key opens, until then (Unix time)."""
        body = f"tandem_{key_id}_{_random(_DIGITS, NONCE_CHARS)}-{int(ends_at)}"
        return f"{body}-{self._mac('session', body).hex()}"

    def read_cookie(self, value: str) -> Claim | None:
        """What a cookie claims, perhaps for a time that is over; None for what was not signed with this pepper."""
        match = _COOKIE.fullmatch(value)
        if match is None or not hmac.compare_digest(self._mac("session", match[1]).hex(), match[5]):
            return None
        return Claim(match[2], session=match[3], ends_at=float(match[4]))

    def _check(self, body: str) -> str:
        return self._mac("check", body).hex()[:CHECK_CHARS]

    def _mac(self, use: str, text: str) -> bytes:
        """HMAC-SHA-256; what it is used for stands before the text, so that one is never good for another."""
        mac = self._hmac.copy()  # with the pepper in it already
        mac.update(f"{use}:{text}".encode())
        return mac.digest()


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
