#!/usr/bin/env python3
"""A new revision: deployed without traffic, asked by its own address, given traffic in steps, or taken back.

    release.py deploy   a revision with this image, no traffic; remembers in --state who has the traffic now
    release.py smoke    a real stream from it; red: its address is taken away, the traffic stays where it was
    release.py shift    traffic step by step, the new revision's failures watched; red: back to who had it

Each ends with 0, or with 1 and the old revisions serving; 2 says that even going back failed and what to type.
"""

import argparse
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final

from cloudrun import Failed, Service, Shares, say
from render import filled
from smoke import Server, Unsound, smoke

BACK_TRIES: Final = 3
SERVICE_FILE: Final = Path(__file__).parents[1] / "cloudrun" / "service.yaml"


class Stopped(Exception):
    """The build was cancelled or ran out of time."""


@dataclass(frozen=True)
class Release:
    """What a step leaves for the next: the new revision, its address, and the traffic from before it."""

    revision: str
    url: str
    audience: str
    before: Shares

    def to(self, percent: int) -> Shares:
        """The traffic with so much of it on the new revision; the rest is with whoever had most."""
        if percent == 100:
            return {self.revision: 100}
        old = max(self.before, key=lambda revision: self.before[revision])
        return {self.revision: percent, old: 100 - percent}


def deploy(service: Service, options: argparse.Namespace) -> None:
    """A new revision without traffic; the very first one makes the service, and has what traffic there is."""
    image = Path(options.image_file).read_text().strip()
    now = service.state()
    if now is None:
        say(f"there is no service {service.name} yet: it is made from {SERVICE_FILE.name}")
        values = dict(pair.split("=", 1) for pair in options.values) | {"IMAGE": image, "TAG": options.tag}
        service.create(str(filled(SERVICE_FILE, values, Path(options.state).parent)))
    else:
        service.deploy(image, options.tag)
    then = service.state()
    if then is None or options.tag not in then.tags:
        raise Failed(f"after the deploy no revision has the tag {options.tag}")
    new = then.tags[options.tag]
    before = {} if now is None else {name: percent for name, percent in now.shares.items() if name != new.revision}
    Path(options.state).write_text(json.dumps(asdict(Release(new.revision, new.url, then.url, before))))
    say(f"{new.revision} is up at {new.url}; the traffic is with {before or 'nobody else'}")


def try_out(service: Service, release: Release, options: argparse.Namespace) -> None:
    """A real stream from the new revision. Raises Failed."""
    token = None if options.no_token else service.identity_token(release.audience)
    try:
        done = smoke(Server(release.url, token, options.within_s), options.attempts, options.pause_s)
    except Unsound as error:
        raise Failed(f"the smoke test of {release.revision} is red: {error}") from None
    say(f"the smoke test of {release.revision} is green: {done['status']} in {done['latency_ms']:.0f} ms")


def shift(service: Service, release: Release, options: argparse.Namespace) -> None:
    """Traffic step by step. Raises Failed when the new revision fails, or when somebody else moves the traffic."""
    expected = release.before
    for percent in options.steps if release.before else [100]:
        now = service.state()
        if now is None or (expected and dict(now.shares) != dict(expected)):
            raise Moved(f"the traffic is {now and dict(now.shares)}, not {dict(expected)}: somebody else moved it")
        expected = release.to(percent)
        since = datetime.now(UTC).isoformat()
        service.share_out(expected)
        say(f"{release.revision} has {percent} % of the traffic")
        soak(service, release, since, options)


class Moved(Failed):
    """Somebody else changed the traffic meanwhile, to roll back perhaps; what they did stands."""


def soak(service: Service, release: Release, since: str, options: argparse.Namespace) -> None:
    """Watch the new revision for a while; a step that nobody asked anything in ends with a question of our own."""
    end = time.monotonic() + options.soak_s
    while True:
        time.sleep(max(0.0, min(options.check_s, end - time.monotonic())))
        answers = service.answers(release.revision, since)
        say(f"{release.revision}: {answers.failed} of {answers.asked} failed ({answers.percent:.1f} %)")
        if answers.failed and answers.percent > options.max_error_percent:
            raise Failed(f"more than {options.max_error_percent:g} % of the answers of {release.revision} failed")
        if time.monotonic() >= end:
            break
    if not answers.asked:
        try_out(service, release, options)


def back(service: Service, release: Release, options: argparse.Namespace) -> bool:
    """The traffic to whoever had it, and the new revision's address away. False when Cloud Run does not do it."""
    if not release.before:
        say("there is no revision from before: the service stays as it is, for nobody but its invokers")
        return True
    if not serving(service, release):
        say(f"{release.revision} had no traffic: it stays with those who have it")
        untag(service, options.tag)
        return True
    for _ in range(BACK_TRIES):
        try:
            service.share_out(release.before)
        except Failed as error:
            say(f"going back: {error}")
            time.sleep(options.back_pause_s)
        else:
            say(f"rolled back: the traffic is with {dict(release.before)}")
            untag(service, options.tag)
            return True
    shares = ",".join(f"{revision}={percent}" for revision, percent in release.before.items())
    say(
        "NOT ROLLED BACK. By hand: gcloud run services update-traffic "
        f"{service.name} --region={service.region} --to-revisions={shares}"
    )
    return False


def serving(service: Service, release: Release) -> bool:
    """Whether the new revision has traffic, as far as is known; nobody else's traffic is moved for nothing."""
    try:
        now = service.state()
    except Exception:  # noqa: BLE001  # whatever keeps us from knowing must not keep us from going back
        return True
    return now is None or release.revision in now.shares


def untag(service: Service, tag: str) -> None:
    """Take the new revision's address away; when that fails it costs at most an idle instance."""
    try:
        service.untag(tag)
    except Failed as error:
        say(f"the tag {tag} stays: {error}")


def guarded(service: Service, options: argparse.Namespace) -> int:
    """Smoke or shift, and the way back when it ends badly."""
    release = Release(**json.loads(Path(options.state).read_text()))
    try:
        if options.step == "smoke":
            try_out(service, release, options)
        else:
            shift(service, release, options)
            untag(service, options.tag)
    except Moved as error:
        say(f"red: {error}; it stays as it is")
        return 1
    except Exception as error:  # noqa: BLE001  # the one way out: whatever goes wrong, what nobody foresaw too, goes back
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # who cancels twice wants no half of a way back
        say(f"red: {error}" if isinstance(error, (Failed, Stopped)) else f"red: {type(error).__name__}: {error}")
        return 1 if back(service, release, options) else 2
    return 0


def steps(text: str) -> list[int]:
    """Percents that grow and end with 100."""
    found = [int(percent) for percent in text.split(",")]
    if found != sorted(set(found)) or found[0] < 1 or found[-1] != 100:
        raise argparse.ArgumentTypeError("percents that grow and end with 100, as in 10,50,100")
    return found


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("deploy", "smoke", "shift"))
    parser.add_argument(
        "--go", choices=("yes", "no"), default="yes", help="no: do nothing, as before there is a service"
    )
    parser.add_argument("--service", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--tag", required=True, help="the new revision's tag")
    parser.add_argument("--state", required=True, help="the file that the steps hand on")
    parser.add_argument("--image-file", help="deploy: the file with the image, by its digest")
    parser.add_argument("--values", nargs="*", default=[], metavar="NAME=VALUE", help="deploy: for service.yaml")
    parser.add_argument("--within-s", type=float, default=120.0, help="bound on getting ready, and on a stream")
    parser.add_argument("--attempts", type=int, choices=range(1, 11), default=3, help="questions until one is sound")
    parser.add_argument("--pause-s", type=float, default=10.0, help="between them")
    parser.add_argument("--steps", type=steps, default=[10, 50, 100], help="shift: percents, as in 10,50,100")
    parser.add_argument("--soak-s", type=float, default=300.0, help="shift: how long each step is watched")
    parser.add_argument("--check-s", type=float, default=30.0, help="shift: between two looks")
    parser.add_argument("--max-error-percent", type=float, default=2.0, help="shift: more failures go back")
    parser.add_argument("--back-pause-s", type=float, default=5.0, help="between two tries to go back")
    parser.add_argument("--no-token", action="store_true", help="the service lets everybody in")
    return parser.parse_args()


def stop(signum: int, _: FrameType | None) -> None:
    """A cancelled build goes back like any other that ends badly."""
    raise Stopped(f"stopped by {signal.Signals(signum).name}")


def main() -> int:
    """One step; the exit code."""
    options = parsed()
    signal.signal(signal.SIGTERM, stop)
    if options.go == "no":
        say(f"{options.step}: not asked for")
        return 0
    service = Service(options.service, options.region)
    if options.step != "deploy":
        return guarded(service, options)
    try:
        deploy(service, options)
    except Failed as error:
        say(f"red: {error}; the traffic is where it was")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
