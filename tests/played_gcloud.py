"""What the fake gcloud and docker do: play a Cloud Run service from a file, and note every call in it.

Run as `played_gcloud.py gcloud run services list ...`. It knows the commands that deploy/cloudbuild uses and refuses
every other one. It imports next to nothing, because a release starts it a dozen times; that is also why its file is
marshal's.
"""

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NEW = "tandem-00002-new"
STATE = "FAKE_GCLOUD"
URL = "https://tandem.example"


def load(path: str) -> "dict[str, Any]":
    """The state."""
    with open(path, "rb") as file:
        state: dict[str, Any] = marshal.load(file)
        return state


def keep(path: str, state: "dict[str, Any]") -> None:
    """Write the state down."""
    with open(path, "wb") as file:
        marshal.dump(state, file)


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()


def _option(words: list[str], name: str) -> str:
    return next(word.partition("=")[2] for word in words if word.startswith(f"--{name}="))


def _services(state: "dict[str, Any]") -> str:
    """JSON by hand: no name here needs an escape."""
    if state["shares"] is None:
        return "[]"
    entries = [f'{{"revisionName": "{name}", "percent": {share}}}' for name, share in state["shares"].items()]
    for tag, name in state["tags"].items():
        entries.append(f'{{"revisionName": "{name}", "tag": "{tag}", "url": "{state["address"]}"}}')
    traffic = ", ".join(entries)
    return f'[{{"status": {{"url": "{URL}", "latestReadyRevisionName": "{NEW}", "traffic": [{traffic}]}}}}]'


def _update_traffic(state: "dict[str, Any]", words: list[str]) -> None:
    for word in words:
        if word.startswith("--to-revisions="):
            pairs = (pair.split("=") for pair in word.partition("=")[2].split(","))
            state["shares"] = {name: int(share) for name, share in pairs}
        if word.startswith("--remove-tags="):
            state["tags"].pop(word.partition("=")[2], None)


def _run(state: "dict[str, Any]", words: list[str]) -> str:
    match words[:3]:
        case ["run", "deploy", _]:
            state["tags"][_option(words, "tag")] = NEW
        case ["run", "services", "list"]:
            return _services(state)
        case ["run", "services", "replace"]:
            state["shares"], state["manifest"] = {NEW: 100}, _text(words[3])
            state["tags"] = {state["manifest"].split("tag: ")[1].split()[0]: NEW}
        case ["run", "services", "update-traffic"]:
            _update_traffic(state, words)
        case ["run", "jobs", "list"]:
            return "[{}]" if state["job"] else "[]"
        case ["run", "jobs", "replace"]:
            state["job"], state["manifest"] = True, _text(words[3])
        case ["run", "jobs", "update" | "execute"]:
            pass
        case _:
            sys.exit(f"the fake knows no such command: {words}")
    return ""


def _docker(state: "dict[str, Any]", words: list[str]) -> str:
    match words:
        case ["create", _]:
            return "0123456789ab"
        case ["cp", _, target]:
            with open(target, "w") as file:
                file.write(state.get("sbom", ""))
        case ["image", "inspect", *_]:
            return "elsewhere/tandem@sha256:0\neurope-docker.pkg.dev/p/tandem/tandem@sha256:abc"
    return ""


def play(state: "dict[str, Any]", name: str, words: list[str]) -> str:
    """What a command prints; it changes the state."""
    if name == "docker":
        return _docker(state, words)
    match words[:2]:
        case ["run", _]:
            return _run(state, words)
        case ["auth", "print-identity-token"]:
            return f"token for {_option(words, 'audiences')}"
        case ["logging", "read"]:
            return str(state["lines"].pop(0)) if state["lines"] else "[]"
        case ["artifacts", "docker"]:
            return str(state.get("scan", "")) if words[3] == "scan" else "\n".join(state.get("found", []))
        case ["artifacts", "sbom"]:
            return ""
    sys.exit(f"the fake knows no such command: {words}")


def main() -> None:
    """One command, as gcloud or as docker."""
    state = load(os.environ[STATE])
    state["calls"].append(sys.argv[1:])
    command = " ".join(sys.argv[2:])
    failing = next((start for start, times in state["fail"].items() if times and command.startswith(start)), None)
    printed = ""
    if failing is None:
        printed = play(state, sys.argv[1], sys.argv[2:])
    else:
        state["fail"][failing] -= 1
    keep(os.environ[STATE], state)
    if failing is not None:
        sys.exit(f"ERROR: (gcloud.{failing}) it is played that this fails")
    sys.stdout.write(printed)


if __name__ == "__main__":
    main()
