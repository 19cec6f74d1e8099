"""The scripts of the release, run as Cloud Build runs them: a gcloud that plays, a real server that is asked."""

import asyncio
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_gcloud import IMAGE, OLD, TAG, Cloud, lines, made, ran, started
from journals import MemoryJournal
from played_gcloud import NEW, URL
from servers import serving
from starlette.datastructures import Headers
from starlette.types import Scope

from app.http.callers import anybody
from app.question import Caller

QUICK = ("--pause-s=0", "--back-pause-s=0.01", "--within-s=5", "--soak-s=0.02", "--check-s=0.01", "--attempts=1")
FAILING = "scripted:error"
BACK = f"run services update-traffic tandem --region=europe-west1 --to-revisions={OLD}=100"


def release_words(name: str) -> list[str]:
    """The command line of a step as cloudbuild.yaml has it, but quick."""
    words = [name, "--service=tandem", "--region=europe-west1", f"--tag={TAG}", "--state=state.json", *QUICK]
    values = ["--image-file=image", "--values", "PROJECT=p", "REGION=europe-west1"] if name == "deploy" else []
    return [*words, *values]


def handed(folder: Path, address: str, before: Mapping[str, int] = {OLD: 100}, **played: Any) -> Cloud:
    """A cloud in which the new revision is deployed, and what that step hands on."""
    shares = {**before} or {NEW: 100}
    cloud = made(folder, address=address, tags={TAG: NEW}, shares=shares, **played)
    state = {"revision": NEW, "url": address, "audience": URL, "before": before}
    (folder / "state.json").write_text(json.dumps(state))
    return cloud


async def step(cloud: Cloud, name: str, *last: str) -> tuple[int | None, str]:
    """One step of release.py."""
    return await ran(cloud, "release.py", *release_words(name), *last)


async def released(cloud: Cloud) -> tuple[int | None, str]:
    """Deploy, smoke and shift one after the other, as long as each is green."""
    everything = ""
    for name in ("deploy", "smoke", "shift"):
        code, said = await step(cloud, name)
        everything += said
        if code != 0:
            return code, everything
    return 0, everything


def moves(cloud: Cloud) -> list[str]:
    """How the traffic was moved, one word a move."""
    words = (word for call in cloud["calls"] for word in call)
    return [word.partition("=")[2] for word in words if word.startswith("--to-revisions=")]


async def test_release_succeeds(tmp_path: Path) -> None:
    """A sound revision gets 10, 50 and 100 percent, and its own address is taken away at the end."""
    async with serving() as server:
        cloud = made(tmp_path, address=server.url, lines=[lines(30)] * 9)
        code, said = await released(cloud)
    assert code == 0, said
    assert moves(cloud) == [f"{NEW}=10,{OLD}=90", f"{NEW}=50,{OLD}=50", f"{NEW}=100"]
    assert (cloud["shares"], cloud["tags"]) == ({NEW: 100}, {})


async def test_deploy_no_traffic(tmp_path: Path) -> None:
    """A deploy names the image by its digest, asks for no traffic, and moves none."""
    cloud = made(tmp_path, address="http://127.0.0.1:1")
    code, said = await step(cloud, "deploy")
    deploy = next(call for call in cloud["calls"] if call[1:3] == ["run", "deploy"])
    assert code == 0, said
    assert {"--no-traffic", f"--image={IMAGE}@sha256:abc", f"--tag={TAG}"} <= set(deploy)
    assert cloud["shares"] == {OLD: 100}


async def test_failed_deploy_moves_nothing(tmp_path: Path) -> None:
    """A revision that does not come up ends the build; who had the traffic has it."""
    cloud = made(tmp_path, fail={"run deploy": 1})
    code, said = await step(cloud, "deploy")
    assert (code, cloud["shares"], moves(cloud)) == (1, {OLD: 100}, []), said


async def test_smoke_sends_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smoke test asks with an identity token for the service's own address, and a key where one is wanted; no
    output or argument has either.
    """
    monkeypatch.setenv("TANDEM_KEY", "key-of-the-pipeline\n")  # a secret that was a file's
    seen: list[str] = []

    async def identify(headers: Headers, scope: Scope) -> Caller:
        """Whoever it is; what was sent is kept."""
        seen.append(f"{headers.get('authorization')}, {headers.get('x-api-key')}")
        return await anybody(headers, scope)

    async with serving(identify=identify) as server:
        cloud = handed(tmp_path, server.url)
        code, said = await step(cloud, "smoke")
    assert code == 0, said
    assert seen[-1] == f"Bearer token for {URL}, key-of-the-pipeline"
    assert not any(secret in said + json.dumps(cloud["calls"]) for secret in ("token for", "key-of"))


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"slow_model": FAILING}, "'partial'"), ({"fast_model": FAILING, "slow_model": FAILING}, "'failed'")],
)
async def test_red_smoke_goes_back(tmp_path: Path, settings: dict[str, Any], told: str) -> None:
    """A stream that ends with a `done` of another status than `completed` is red, and the traffic stays."""
    async with serving(**settings) as server:
        cloud = handed(tmp_path, server.url)
        code, said = await step(cloud, "smoke")
    assert code == 1, said
    assert told in said
    assert (cloud["shares"], cloud["tags"], moves(cloud)) == ({OLD: 100}, {}, [])


@pytest.mark.long
async def test_unknown_traffic_goes_back(tmp_path: Path) -> None:
    """When Cloud Run does not say who has the traffic, a red revision is taken for one that has some."""
    async with serving(slow_model=FAILING) as server:
        cloud = handed(tmp_path, server.url, fail={"run services list": 9})
        code, said = await step(cloud, "smoke")
    assert (code, moves(cloud), cloud["tags"]) == (1, [f"{OLD}=100"], {}), said


@pytest.mark.long
async def test_unrecorded_smoke_is_red(tmp_path: Path) -> None:
    """A run that says `pending` at its end was not recorded in time: the new revision has no database."""
    async with serving() as server:
        assert isinstance(server.journal, MemoryJournal)
        server.journal.delay_s = None
        cloud = handed(tmp_path, server.url)
        code, said = await step(cloud, "smoke")
    assert code == 1
    assert "audit `pending`" in said


@pytest.mark.parametrize("look", [lines(40, bad=10), lines(40, broken=10)], ids=["failed runs", "5xx"])
async def test_soak_with_errors_goes_back(tmp_path: Path, look: str) -> None:
    """A revision whose answers fail at 10 percent of the traffic loses it again, and the build is red."""
    async with serving() as server:
        cloud = handed(tmp_path, server.url, lines=[look])
        code, said = await step(cloud, "shift")
    assert code == 1, said
    assert "10 of 50 failed" in said
    assert moves(cloud) == [f"{NEW}=10,{OLD}=90", f"{OLD}=100"]
    assert cloud["shares"] == {OLD: 100}


@pytest.mark.long
async def test_whatever_goes_wrong_goes_back(tmp_path: Path) -> None:
    """A look that nobody foresaw, as when gcloud prints no JSON, takes the traffic back like any other failure."""
    cloud = handed(tmp_path, "http://127.0.0.1:1", lines=["Updates are available."])
    code, said = await step(cloud, "shift")
    assert (code, cloud["shares"]) == (1, {OLD: 100}), said
    assert "JSONDecodeError" in said


@pytest.mark.long
async def test_quiet_soak_asks_itself(tmp_path: Path) -> None:
    """A step in which nobody asked anything ends with a question of its own."""
    async with serving() as server:
        cloud = handed(tmp_path, server.url)
        code, said = await step(cloud, "shift", "--steps=100")
        assert isinstance(server.journal, MemoryJournal)
        asked = len(server.journal.openings)
    assert (code, asked) == (0, 1), said


@pytest.mark.long
async def test_shares_restored(tmp_path: Path) -> None:
    """A roll-back gives every revision the share it had before, when there were several."""
    before = {OLD: 70, "tandem-00000-older": 30}
    cloud = handed(tmp_path, "http://127.0.0.1:1", before=before, lines=[lines(1, bad=1)])
    code, said = await step(cloud, "shift")
    assert (code, cloud["shares"]) == (1, before), said
    assert moves(cloud)[0] == f"{NEW}=10,{OLD}=90"


async def stuck(folder: Path, times: int) -> tuple[Cloud, int | None, str]:
    """A release that must go back, in a cloud that refuses it so many times."""
    cloud = handed(folder, "http://127.0.0.1:1", lines=[lines(1, bad=1)], fail={BACK: times})
    return cloud, *await step(cloud, "shift")


@pytest.mark.long
async def test_roll_back_is_tried_again(tmp_path: Path) -> None:
    """A roll-back that Cloud Run refuses once is tried again."""
    cloud, code, said = await stuck(tmp_path, 1)
    assert (code, cloud["shares"]) == (1, {OLD: 100}), said


@pytest.mark.long
async def test_stuck_roll_back_says_what_to_type(tmp_path: Path) -> None:
    """A roll-back that Cloud Run refuses for good exits with 2 and prints the command for a person."""
    _, code, said = await stuck(tmp_path, 9)
    assert code == 2, said
    assert f"gcloud run services update-traffic tandem --region=europe-west1 --to-revisions={OLD}=100" in said


@pytest.mark.long
async def test_first_deploy_ever(tmp_path: Path) -> None:
    """Without a service one is made from service.yaml, filled in; there is nothing to go back to."""
    async with serving() as server:
        cloud = made(tmp_path, address=server.url, shares=None)
        code, said = await released(cloud)
    assert code == 0, said
    assert f"{IMAGE}@sha256:abc" in cloud["manifest"]
    assert "${" not in cloud["manifest"]
    assert moves(cloud) == [f"{NEW}=100"]


@pytest.mark.long
async def test_first_deploy_red(tmp_path: Path) -> None:
    """A first revision that fails its smoke test ends the build and moves nothing."""
    async with serving(slow_model=FAILING) as server:
        cloud = made(tmp_path, address=server.url, shares=None)
        code, said = await released(cloud)
    assert (code, moves(cloud)) == (1, []), said
    assert "no revision from before" in said


@pytest.mark.long
async def test_foreign_move_stands(tmp_path: Path) -> None:
    """When somebody else moves the traffic meanwhile, the release stops and leaves it as they put it."""
    async with serving() as server:
        cloud = handed(tmp_path, server.url)
        cloud["shares"] = {"tandem-00000-older": 100}
        code, said = await step(cloud, "shift")
    assert (code, moves(cloud), cloud["shares"]) == (1, [], {"tandem-00000-older": 100}), said


async def test_cancelled_build_goes_back(tmp_path: Path) -> None:
    """SIGTERM during a soak takes the traffic back."""
    async with serving() as server:
        cloud = handed(tmp_path, server.url)
        child = await started(cloud, "release.py", *release_words("shift"), "--soak-s=60", "--check-s=60")
        assert child.stdout is not None
        while b"10 % of the traffic" not in await child.stdout.readline():
            pass
        child.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(child.wait(), 10) == 1
    assert cloud["shares"] == {OLD: 100}


@pytest.mark.long
async def test_cancelled_twice_goes_back_all_the_same(tmp_path: Path) -> None:
    """A second SIGTERM, while the traffic is being taken back, does not stop that half-way."""
    cloud = handed(tmp_path, "http://127.0.0.1:1", fail={BACK: 1})
    child = await started(
        cloud, "release.py", *release_words("shift"), "--soak-s=60", "--check-s=60", "--back-pause-s=1"
    )
    assert child.stdout is not None
    for said in (b"10 % of the traffic", b"going back"):
        while said not in (line := await child.stdout.readline()):
            assert line
        child.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(child.wait(), 10) == 1
    assert cloud["shares"] == {OLD: 100}
