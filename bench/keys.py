"""What a request costs more with AUTH=keys, and whether a wrong key's refusal tells how wrong it was.

    python -m bench.keys [--requests 20000] [--rounds 7]

The door alone is measured, called as the server calls it: no network, no database, one thread.
"""

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

from starlette.datastructures import Headers

from app.admission.attempts import Attempts
from app.admission.keys import Seal
from app.admission.ring import Patience, Ring, StoredKey
from app.errors import Refusal
from app.http.callers import Identify, anybody
from app.http.door import Door
from app.http.keyholders import KeyHolders
from app.question import Caller

SEAL: Final = Seal("a pepper that is good for a benchmark alone")
USUAL: Final = {"host": "127.0.0.1:8080", "user-agent": "bench", "accept": "*/*", "content-type": "application/json"}


class OneKey:
    """A store with one key in it."""

    def __init__(self) -> None:
        self.minted = SEAL.mint()
        self.asked = 0

    async def find(self, key_id: str, session: str | None) -> StoredKey | None:  # noqa: ARG002  # as Keys has it
        """The key, if it is that."""
        self.asked += 1
        known = key_id == self.minted.key_id
        return StoredKey(key_id, self.minted.digest, Caller("bench")) if known else None


def scope_with(headers: dict[str, str]) -> dict[str, Any]:
    """A request as the server has parsed it."""
    raw = [(name.encode(), value.encode()) for name, value in (USUAL | headers).items()]
    return {
        "type": "http", "method": "POST", "path": "/v1/reason", "query_string": b"", "scheme": "http",
        "client": ("127.0.0.1", 5), "headers": raw,
    }  # fmt: skip


async def cost(identify: Identify, headers: dict[str, str], requests: int) -> float:
    """Microseconds of processor time of the door, a request."""
    door, scope = Door(identify, guard_loopback=False), scope_with(headers)
    began = time.process_time()
    for _ in range(requests):
        with contextlib.suppress(Refusal):
            await door.enter(Headers(scope=scope), scope)
    return (time.process_time() - began) / requests * 1e6


async def main(requests: int, rounds: int) -> None:
    """Measure in turn, so that what the machine does meanwhile meets all alike; print the medians."""
    store = OneKey()
    holders = KeyHolders(SEAL, Ring(store, Patience(cache_s=300)), Attempts(10**9))
    token = store.minted.token
    cookie = SEAL.cookie(store.minted.key_id, time.time() + 600)
    bearer: Callable[[str], dict[str, str]] = lambda key: {"authorization": f"Bearer {key}"}  # noqa: E731  # a row each
    rows: dict[str, tuple[Identify, dict[str, str]]] = {
        "AUTH=off": (anybody, {}),
        "a known key": (holders, bearer(token)),
        "a session": (holders, {"cookie": f"tandem={cookie}", "sec-fetch-site": "same-origin"}),
        "no key": (holders, {}),
        "no such form": (holders, bearer("x" * len(token))),
        "first character wrong": (holders, bearer(_changed(token, 20))),
        "middle wrong": (holders, bearer(_changed(token, 42))),
        "last wrong": (holders, bearer(_changed(token, len(token) - 1))),
        "never made": (holders, bearer(f"tandem_{'0' * 12}_{'a' * 51}")),
    }
    for headers in (bearer(token), {"cookie": f"tandem={cookie}", "sec-fetch-site": "same-origin"}):
        await Door(holders, guard_loopback=False).enter(Headers(scope=scope_with(headers)), scope_with(headers))
    looks = store.asked
    found: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, (identify, headers) in rows.items():
            found[name].append(await cost(identify, headers, requests))
    for name, costs in found.items():
        print(f"{name:24} {statistics.median(costs):8.1f} us   least {min(costs):6.1f}   most {max(costs):6.1f}")
    print(f"looks into the store meanwhile: {store.asked - looks}")


def _changed(token: str, at: int) -> str:
    return token[:at] + ("b" if token[at] != "b" else "c") + token[at + 1 :]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    asyncio.run(main(options.requests, options.rounds))
