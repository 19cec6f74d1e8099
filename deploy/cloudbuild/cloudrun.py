#!/usr/bin/env python3
"""The Cloud Run service as a release sees it, through gcloud: which revision gets what share, and what it answered."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

GCLOUD_S: Final = 900.0  # for one command; a deploy waits for the new revision's start-up probe
LINES_MOST: Final = 5000  # log lines read in one look

Shares = Mapping[str, int]  # percent of the traffic by revision


class Failed(Exception):
    """The release cannot go on; the message says why."""


def say(text: str) -> None:
    """A line for whoever reads the build's log."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def gcloud(*words: str, secret: bool = False) -> str:
    """What a gcloud command printed. Raises Failed with its last words; secret: what it prints is not for the log."""
    if not secret:
        say(f"$ gcloud {' '.join(words)}")
    try:
        ended = subprocess.run(  # noqa: S603  # words of our own, no shell
            ["gcloud", *words, "--quiet"],  # noqa: S607  # the one on PATH is the image's
            capture_output=True,
            text=True,
            timeout=GCLOUD_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"gcloud {' '.join(words[:3])}: {type(error).__name__}") from None
    if ended.returncode != 0:
        raise Failed(f"gcloud {' '.join(words[:3])} ended with {ended.returncode}: {ended.stderr.strip()[-2000:]}")
    return ended.stdout


@dataclass(frozen=True)
class Tagged:
    """A revision that can be asked by an address of its own."""

    revision: str
    url: str


@dataclass(frozen=True)
class State:
    """The service as it is: its address, who gets the traffic, and the revisions with an address of their own."""

    url: str
    shares: Shares
    tags: Mapping[str, Tagged] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """What a revision answered: questions that were accepted, and those that failed through no fault of the client."""

    asked: int
    failed: int

    @property
    def percent(self) -> float:
        """The share that failed."""
        return 100.0 * self.failed / self.asked if self.asked else 0.0


@dataclass(frozen=True)
class Service:
    """One Cloud Run service in one region of the project that gcloud is set to."""

    name: str
    region: str

    def state(self) -> State | None:
        """How it is now; None when there is no such service."""
        listed = json.loads(
            gcloud(
                "run",
                "services",
                "list",
                f"--region={self.region}",
                f"--filter=metadata.name={self.name}",
                "--format=json",
            )
        )
        return _state(listed[0]["status"]) if listed else None

    def deploy(self, image: str, tag: str) -> None:
        """A new revision with this image and otherwise the service's settings, which gets no traffic but by its tag."""
        gcloud(
            "run",
            "deploy",
            self.name,
            f"--region={self.region}",
            f"--image={image}",
            f"--tag={tag}",
            "--no-traffic",
        )

    def create(self, manifest: str) -> None:
        """The service as a file describes it. Nobody may call it until somebody is made an invoker."""
        gcloud("run", "services", "replace", manifest, f"--region={self.region}")

    def share_out(self, shares: Shares) -> None:
        """Give each revision its percent of the traffic."""
        wanted = ",".join(f"{revision}={percent}" for revision, percent in shares.items())
        self._update(f"--to-revisions={wanted}")

    def untag(self, tag: str) -> None:
        """Take away an address; a tagged revision keeps its minimum of instances running."""
        self._update(f"--remove-tags={tag}")

    def _update(self, change: str) -> None:
        gcloud("run", "services", "update-traffic", self.name, f"--region={self.region}", change)

    def identity_token(self, audience: str) -> str:
        """A token of this build's service account that Cloud Run lets in; it must be an invoker of the service."""
        return gcloud("auth", "print-identity-token", f"--audiences={audience}", secret=True).strip()

    def answers(self, revision: str, since: str) -> Answers:
        """What a revision answered since a time (RFC 3339), by its request log and by the platform's.

        A stream that fails is a 200 all the same, so that the platform's status codes alone would not tell. The
        request log is what REQUEST_LOG=true and LOG_FORMAT=json write.
        """
        wanted = " AND ".join(
            (
                'resource.type="cloud_run_revision"',
                f'resource.labels.service_name="{self.name}"',
                f'resource.labels.location="{self.region}"',
                f'resource.labels.revision_name="{revision}"',
                f'timestamp>="{since}"',
                '(httpRequest.status>=500 OR jsonPayload.logger="tandem.requests")',
            )
        )
        fields = "json(httpRequest.status,jsonPayload.status,jsonPayload.http_status)"
        return _answers(
            json.loads(gcloud("logging", "read", wanted, f"--format={fields}", f"--limit={LINES_MOST}") or "[]")
        )


def _state(status: Mapping[str, Any]) -> State:
    """A service's status as the API has it; one revision may stand in several entries."""
    shares: dict[str, int] = {}
    tags: dict[str, Tagged] = {}
    for entry in status.get("traffic", ()):
        revision = entry.get("revisionName") or status["latestReadyRevisionName"]
        if entry.get("percent"):
            shares[revision] = shares.get(revision, 0) + entry["percent"]
        if entry.get("tag"):
            tags[entry["tag"]] = Tagged(revision, entry["url"])
    return State(status["url"], shares, tags)


def _answers(lines: list[dict[str, Any]]) -> Answers:
    """Counted once each: a 5xx by the platform's line, an accepted question by our own."""
    asked = failed = 0
    for line in lines:
        platform, own = line.get("httpRequest") or {}, line.get("jsonPayload") or {}
        if int(platform.get("status") or 0) >= 500:
            asked, failed = asked + 1, failed + 1
        elif int(own.get("http_status") or 0) == 200:
            asked, failed = asked + 1, failed + (own.get("status") == "error")
    return Answers(asked, failed)
