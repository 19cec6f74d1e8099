#!/usr/bin/env python3
"""Ask a running Tandem one question and hold its stream to the protocol. Standard library only.

    IDENTITY_TOKEN=... python3 deploy/cloudbuild/smoke.py --url https://...

Without IDENTITY_TOKEN it asks as nobody; under AUTH=keys it shows the key in TANDEM_KEY. It exits with 0 when the
stream ended as a sound server's must.
"""

import argparse
import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

QUESTION: Final = "What is 6 times 7? Answer with the number alone."
READY_PATH: Final = "/health/ready"
ASK_PATH: Final = "/v1/reason"


class Unsound(Exception):
    """The server did not do what the protocol promises; the message says what."""


@dataclass(frozen=True)
class Server:
    """Where to ask and as whom. within_s bounds each step: getting ready, and the whole stream."""

    url: str
    token: str | None = None
    within_s: float = 120.0

    def request(self, path: str, body: dict[str, Any] | None = None) -> IO[bytes]:
        """The response, headers read. Raises Unsound unless it is a 2xx."""
        headers = {"Content-Type": "application/json", "User-Agent": "tandem-smoke"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if key := os.environ.get("TANDEM_KEY", "").strip():  # that the server itself wants, beside Cloud Run
            headers["X-API-Key"] = key
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url.rstrip("/") + path, data, headers)  # noqa: S310  # checked in main
        try:
            response: IO[bytes] = urllib.request.urlopen(request, timeout=self.within_s)  # noqa: S310  # as above
        except urllib.error.HTTPError as error:
            raise Unsound(f"{path} answered {error.code}: {error.read(500).decode('utf-8', 'replace')}") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unsound(f"{path} did not answer: {getattr(error, 'reason', error)}") from None
        return response


@dataclass(frozen=True)
class Event:
    """One event of the stream."""

    name: str
    run_id: str
    seq: int
    data: dict[str, Any]


def until_ready(server: Server) -> None:
    """Return when the server wants questions and has its database. Raises Unsound when that takes too long."""
    deadline = time.monotonic() + server.within_s
    while True:
        try:
            with server.request(READY_PATH) as response:
                checks = json.load(response)["checks"]
            if checks["database"] == "ok":
                return
            trouble = Unsound(f"{READY_PATH} says that the database is {checks['database']!r}")
        except Unsound as error:
            trouble = error
        if time.monotonic() > deadline:
            raise trouble
        time.sleep(min(1.0, server.within_s / 20))


def ask(server: Server) -> dict[str, Any]:
    """The data of `done`, after a stream that was sound from its first byte to its last. Raises Unsound."""
    body = {"input": QUESTION, "cache": "off", "experiment": "smoke", "tags": ["smoke"]}
    with server.request(ASK_PATH, body) as response:
        kind = getattr(response, "headers", {}).get("Content-Type", "")
        if not kind.startswith("text/event-stream"):
            raise Unsound(f"{ASK_PATH} answered with {kind!r}, not with a stream")
        try:
            events = list(read(response, time.monotonic() + server.within_s))
        except (OSError, http.client.HTTPException) as error:
            raise Unsound(f"the stream broke off: {type(error).__name__}") from None
    return judge(events)


def read(lines: IO[bytes], deadline: float) -> Iterator[Event]:
    """Each whole event as it comes. Raises Unsound when the stream is no such stream or goes on for too long."""
    fields: dict[str, str] = {}
    for line in lines:
        if time.monotonic() > deadline:
            raise Unsound("the stream did not end in time")
        text = line.decode("ascii").rstrip("\n")
        if text.startswith(":"):
            continue
        if text:
            name, _, value = text.partition(": ")
            fields[name] = value
        elif "event" in fields:
            run_id, _, seq = fields["id"].rpartition(":")
            yield Event(fields["event"], run_id, int(seq), json.loads(fields["data"]))
            fields = {}


def judge(events: Sequence[Event]) -> dict[str, Any]:
    """The data of `done`; raises Unsound for a stream that breaks the protocol or is no success."""
    names = [event.name for event in events]
    if not events or names[0] != "start":
        raise Unsound(f"the stream does not begin with `start`: {names[:3]}")
    if names[-1] != "done" or names.count("done") != 1:
        raise Unsound(f"the stream does not end with the one `done`: {names[-3:]}")
    if [event.seq for event in events] != list(range(len(events))) or len({event.run_id for event in events}) != 1:
        raise Unsound("the ids of the stream have a gap, or more than one run")
    done: dict[str, Any] = events[-1].data
    if done["status"] != "completed":
        raise Unsound(f"`done` says {done['status']!r}, reason {done['reason']!r}; ends of lanes: {_ends(events)}")
    finals = [event.data for event in events if event.name == "final"]
    if not finals or not finals[0]["verified"] or not finals[0]["text"].strip():
        raise Unsound("`done` says `completed`, and there is no verified final answer")
    if done["audit"] != "durable":
        raise Unsound("the run was not recorded in time: `done` says audit `pending`")
    return done


def _ends(events: Sequence[Event]) -> list[str]:
    """How each lane ended, in a few words."""
    ends = (event.data for event in events if event.name == "lane_end")
    return [f"{end['lane']} {end['outcome']} ({end['reason']}: {end['message']})" for end in ends]


def smoke(server: Server, attempts: int, pause_s: float) -> dict[str, Any]:
    """The data of the first sound `done` of so many attempts: a provider may be busy once. Raises Unsound."""
    until_ready(server)
    for attempt in range(1, attempts + 1):
        try:
            return ask(server)
        except Unsound as error:
            if attempt == attempts:
                raise
            sys.stdout.write(f"attempt {attempt} of {attempts}: {error}\n")
            time.sleep(pause_s)
    raise AssertionError("attempts is at least 1")


def main() -> int:
    """Ask, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--url", required=True, help="http:// or https://, without a path")
    parser.add_argument("--within-s", type=float, default=120.0, help="bound on each step, in seconds")
    parser.add_argument("--attempts", type=int, choices=range(1, 11), default=1, help="questions until one is sound")
    options = parser.parse_args()
    if not options.url.startswith(("http://", "https://")):
        parser.error("--url begins with http:// or https://")
    try:
        done = smoke(Server(options.url, os.environ.get("IDENTITY_TOKEN"), options.within_s), options.attempts, 5.0)
    except Unsound as error:
        sys.stdout.write(f"red: {error}\n")
        return 1
    sys.stdout.write(f"green: {done['status']} in {done['latency_ms']:.0f} ms, audit {done['audit']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
