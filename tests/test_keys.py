"""API keys by themselves: made, told from guesses, looked up, remembered, and counted when they are wrong."""

import asyncio
from dataclasses import replace

import pytest
from cells import rows
from keyring import SEAL, MemoryKeys

from app.admission.addresses import client_address, parse_networks
from app.admission.attempts import PLACES, Attempts
from app.admission.keys import CREDENTIAL, Claim, Seal
from app.admission.origins import parse_origins
from app.admission.ring import Patience, Ring
from app.errors import IdentityUnavailable, TooManyAttempts, Unauthenticated


class Clock:
    """A time that the test sets."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def ring_over(store: MemoryKeys, clock: Clock, **patience: float) -> Ring:
    """A ring whose both clocks are this one."""
    return Ring(store, Patience(**patience), clock, clock)


def claim_of(token: str) -> Claim:
    """What a genuine key claims."""
    claim = SEAL.read_key(token)
    assert claim is not None
    return claim


# -- how they are made


def test_a_key_is_read_back_and_its_hash_is_not_in_it() -> None:
    """A key claims its id and its digest, which is not to be found in the key; no two keys are alike."""
    one, other = SEAL.mint(), SEAL.mint()
    assert claim_of(one.token) == Claim(one.key_id, one.digest)
    assert one.digest.hex() not in one.token
    assert {one.key_id, one.token, one.digest}.isdisjoint({other.key_id, other.token, other.digest})
    assert CREDENTIAL.fullmatch(one.token)


def test_every_changed_character_is_noticed_without_a_store() -> None:
    """A key with any character changed, cut or added is none, and neither is one of another pepper."""
    token = SEAL.mint().token
    changed = [token[:i] + ("b" if token[i] != "b" else "c") + token[i + 1 :] for i in range(len(token))]
    for wrong in (
        *changed,
        token[:-1],
        token + "a",
        "",
        "tandem_",
        f" {token}",
        f"{token}\n",
        Seal("x" * 32).mint().token,
    ):
        assert SEAL.read_key(wrong) is None, wrong


def test_every_changed_character_of_a_cookie_is_noticed() -> None:
    """A cookie is signed as a whole, its end included; it is no key, and a key is no cookie."""
    minted = SEAL.mint()
    cookie = SEAL.cookie(minted.key_id, 2000.5)
    claim = SEAL.read_cookie(cookie)
    assert claim is not None
    assert (claim.key_id, claim.digest, claim.ends_at) == (minted.key_id, None, 2000.0)
    for i in range(len(cookie)):
        assert SEAL.read_cookie(cookie[:i] + ("1" if cookie[i] != "1" else "2") + cookie[i + 1 :]) is None
    assert SEAL.read_key(cookie) is None
    assert SEAL.read_cookie(minted.token) is None
    assert Seal("x" * 32).read_cookie(cookie) is None


# -- how they are looked up


async def test_a_key_is_looked_up_once_in_a_while() -> None:
    """Of many at once one looks; then nobody does until the look is too old."""
    store, clock = MemoryKeys(), Clock()
    ring, claim = ring_over(store, clock, cache_s=30), claim_of(store.issue("alice").token)
    assert ring.at_hand(claim) is None
    holders = await asyncio.gather(*(ring.find(claim) for _ in range(20)))
    assert ({holder.caller.id for holder in holders}, store.asked) == ({"alice"}, 1)
    clock.now += 29.9
    assert ring.at_hand(claim) == holders[0]
    clock.now += 0.1
    assert ring.at_hand(claim) is None
    await ring.find(claim)
    assert store.asked == 2


async def test_what_is_not_good_is_remembered_too() -> None:
    """A key that is not in the store, or revoked, costs one look and is refused from memory then."""
    store, clock = MemoryKeys(), Clock()
    ring = ring_over(store, clock)
    for claim in (claim_of(SEAL.mint().token), claim_of(store.issue(revoked=True).token)):
        before = store.asked
        with pytest.raises(Unauthenticated):
            await ring.find(claim)
        with pytest.raises(Unauthenticated):
            ring.at_hand(claim)
        assert store.asked == before + 1


async def test_a_key_ends_while_it_is_remembered() -> None:
    """A key's end is looked at each time, not only when the key is looked up; so is a session's."""
    store, clock = MemoryKeys(), Clock()
    minted = store.issue(expires_at=1010.0)
    ring, claim = ring_over(store, clock), claim_of(minted.token)
    short = SEAL.read_cookie(SEAL.cookie(minted.key_id, 1005.0))
    assert short is not None
    assert ((await ring.find(claim)).ends_at, (await ring.find(short)).ends_at) == (1010.0, 1005.0)
    clock.now = 1005.0
    with pytest.raises(Unauthenticated, match="session is over"):
        ring.at_hand(short)
    assert ring.at_hand(claim) is not None
    clock.now = 1010.0
    with pytest.raises(Unauthenticated, match="expired"):
        ring.at_hand(claim)


async def test_a_revoked_key_is_noticed_within_the_cache_time() -> None:
    """Revoked elsewhere a key works until its look is too old, revoked here not once more; its sessions like it."""
    store, clock = MemoryKeys(), Clock()
    minted = store.issue()
    ring, claim = ring_over(store, clock, cache_s=30), claim_of(minted.token)
    session = SEAL.read_cookie(SEAL.cookie(minted.key_id, 9000))
    assert session is not None
    await ring.find(claim)
    await ring.find(session)
    await store.revoke(minted.key_id)
    assert ring.at_hand(claim) is not None
    ring.forget(minted.key_id)
    for revoked in (claim, session):
        with pytest.raises(Unauthenticated, match="revoked"):
            await ring.find(revoked)


async def test_a_look_that_a_revocation_overtakes_is_not_remembered() -> None:
    """What was read of a key before it was revoked here is forgotten, though it arrives after that."""
    store, clock = MemoryKeys(), Clock()
    minted = store.issue()
    ring = ring_over(store, clock)
    claim = claim_of(minted.token)
    looking = asyncio.create_task(ring.find(claim))
    read = store.keys[minted.key_id]
    await asyncio.sleep(0)
    await store.revoke(minted.key_id)
    ring.forget(minted.key_id)
    store.keys[minted.key_id], revoked = read, store.keys[minted.key_id]  # the look has the old row in its hands
    await looking
    store.keys[minted.key_id] = revoked
    with pytest.raises(Unauthenticated, match="revoked"):
        await ring.find(claim)


async def test_another_digest_is_refused() -> None:
    """A genuine key whose digest is not the stored one is refused, as after a database was exchanged."""
    store, clock = MemoryKeys(), Clock()
    minted = store.issue()
    store.keys[minted.key_id] = replace(store.keys[minted.key_id], digest=b"x" * 32)
    with pytest.raises(Unauthenticated, match="not known"):
        await ring_over(store, clock).find(claim_of(minted.token))


@pytest.mark.parametrize("how", ["away", "silent"])
async def test_while_the_store_is_away_known_keys_work_on(how: str) -> None:
    """A key that was seen is good for a bounded time, one that was not gets a 503, and nobody asks again and again."""
    store, clock = MemoryKeys(), Clock()
    ring = ring_over(store, clock, cache_s=30, away_s=900, look_s=0.02)
    known, unknown, never = store.issue("alice"), store.issue("bob"), SEAL.mint()
    await ring.find(claim_of(known.token))
    setattr(store, how, True)
    clock.now += 100
    for _ in range(3):
        assert (await ring.find(claim_of(known.token))).caller.id == "alice"
        for token in (unknown.token, never.token):
            with pytest.raises(IdentityUnavailable):
                await ring.find(claim_of(token))
    assert store.asked == 2
    clock.now += 900
    with pytest.raises(IdentityUnavailable):
        await ring.find(claim_of(known.token))
    setattr(store, how, False)
    clock.now += 2
    assert (await ring.find(claim_of(unknown.token))).caller.id == "bob"


async def test_a_look_that_is_cancelled_harms_nobody() -> None:
    """Whoever leaves while a key is looked up takes nothing from the others who wait for it."""
    store, clock = MemoryKeys(silent=True), Clock()
    ring, claim = ring_over(store, clock), claim_of(store.issue("alice").token)
    leaver = asyncio.create_task(ring.find(claim))
    stayer = asyncio.create_task(ring.find(claim))
    await asyncio.sleep(0)
    store.silent = False
    leaver.cancel()
    assert (await stayer).caller.id == "alice"


# -- who is wrong too often, from where


def test_failures_are_counted_by_address_and_minute() -> None:
    """The address that failed too often waits until its minute is over; no other does."""
    clock = Clock()
    attempts = Attempts(3, clock)
    for _ in range(3):
        attempts.check("10.0.0.1")
        attempts.failed("10.0.0.1")
    clock.now += 10
    with pytest.raises(TooManyAttempts) as refused:
        attempts.check("10.0.0.1")
    assert refused.value.details == {"retry_after_s": 50}
    attempts.check("10.0.0.2")
    clock.now += 50
    attempts.check("10.0.0.1")
    attempts.failed("10.0.0.1")
    attempts.check("10.0.0.1")


def test_addresses_without_number_take_bounded_memory() -> None:
    """However many addresses fail, so many are kept."""
    attempts = Attempts(1)
    for i in range(PLACES + 100):
        attempts.failed(f"10.0.{i}")
    assert len(attempts._windows) == PLACES


TRUSTED = parse_networks("10.0.0.0/8, ::1")


@rows(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),  # whoever connects directly says what they like
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["6.6.6.6, 203.0.113.9"], "203.0.113.9"),  # what stands before it is the client's own invention
        ("10.0.0.1", ["6.6.6.6", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["203.0.113.9:5555"], "203.0.113.9"),
        ("::1", ["[2001:db8:1:2:3:4:5:6]:443"], "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, , "], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        (None, [], "unknown"),
    ],
)
def test_the_client_is_the_first_that_no_trusted_proxy_is(peer: str | None, forwarded: list[str], client: str) -> None:
    """X-Forwarded-For is believed from its end, as far as trusted proxies wrote it."""
    assert client_address(peer, forwarded, TRUSTED) == client


def test_without_trusted_proxies_nobody_is_believed() -> None:
    """By default the address is the peer's."""
    assert client_address("10.0.0.1", ["203.0.113.9"], parse_networks("")) == "10.0.0.1"


@rows("text", ["https://a.example/", "a.example", "*, https://a.example", "https://A.example", "null"])
def test_what_is_no_origin_is_refused(text: str) -> None:
    """A list of origins that no browser would send, or `*` among others, is refused at the start."""
    with pytest.raises(ValueError, match=r"origin|\*"):
        parse_origins(text)
