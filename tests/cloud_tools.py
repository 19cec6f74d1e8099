"""What programs that cannot be run here would say to a command: their subcommands and flags, as far as we use them.

The lists are written from the programs themselves (Google Cloud SDK 528, kubectl 1.32, docker 28, Terraform 1.11), and
`told_by_the_programs` looks them up again on a machine that has these.
"""

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path

from shell_commands import Simple

# Flags without a value, so that the word behind them is not taken for one.
SWITCHES = frozenset({
    "--wait", "--build", "--ignore-not-found", "--no-traffic", "--to-latest", "--prompt-for-password", "--force",
    "--ignore-daemonsets", "--delete-emptydir-data", "--read-only",
})  # fmt: skip

GCLOUD_EVERYWHERE = frozenset({"--format", "--limit"})
GCLOUD = {
    "auth application-default login": "",
    "auth print-identity-token": "",
    "builds submit": "--config --region --substitutions",
    "compute networks subnets create": "--network --region --range",
    "config set": "",
    "iam service-accounts disable": "",
    "iam service-accounts keys list": "--iam-account --managed-by",
    "logging read": "--freshness",
    "projects remove-iam-policy-binding": "--member --role",
    "redis instances failover": "--region",
    "redis instances update": "--region --size",
    "run jobs execute": "--region --wait",
    "run jobs executions list": "--job --region",
    "run jobs update": "--region --update-env-vars",
    "run revisions list": "--region --service",
    "run services describe": "--region",
    "run services get-iam-policy": "--region",
    "run services logs read": "--region",
    "run services proxy": "--region --port --tag",
    "run services replace": "--region",
    "run services update": "--region --no-traffic --tag --update-env-vars --update-secrets --memory --concurrency "
    "--ingress",
    "run services update-traffic": "--region --to-latest --to-revisions",
    "secrets versions add": "--data-file",
    "secrets versions disable": "--secret",
    "secrets versions list": "",
    "sql backups create": "--instance --description",
    "sql backups list": "--instance",
    "sql backups restore": "--restore-instance",
    "sql instances clone": "--point-in-time",
    "sql instances create": "--master-instance-name --region",
    "sql instances describe": "",
    "sql instances failover": "",
    "sql instances patch": "--database-flags --database-version --storage-size --tier",
    "sql instances promote-replica": "",
    "sql operations list": "--instance",
    "sql users set-password": "--instance --prompt-for-password",
}
KUBECTL_EVERYWHERE = frozenset({"-n"})
KUBECTL = {
    "apply": "-f",
    "create namespace": "",
    "create secret generic": "--from-env-file",
    "delete job/tandem-migrate": "--ignore-not-found",
    "delete pod": "--grace-period --force",
    "drain": "--ignore-daemonsets --delete-emptydir-data",
    "logs": "--selector --tail",
    "rollout restart": "",
    "rollout status": "--timeout",
    "rollout undo": "",
    "wait": "--for --timeout",
}
COMPOSE_FIRST = frozenset({"-f", "--env-file"})
DOCKER = {
    "run": "--read-only --tmpfs -v -p -e",
    "compose up": "--build --wait",
}
TERRAFORM = {"init": "-backend-config", "apply": "", "import": ""}
TABLES = {
    "gcloud": (GCLOUD, GCLOUD_EVERYWHERE),
    "kubectl": (KUBECTL, KUBECTL_EVERYWHERE),
    "docker": (DOCKER, COMPOSE_FIRST),
    "terraform": (TERRAFORM, frozenset[str]()),
}
PLAIN = {
    "cloud-sql-proxy": ("--private-ip", "--auto-iam-authn", "--impersonate-service-account"),
    "redis-cli": ("-u", "--bigkeys", "--latency"),
    "kill": ("-9", "-TERM"),
    "sqlite3": (),
    "cp": (),
    "jq": ("-c", "-r"),
    "openssl": ("-hex",),
    "df": ("-h",),
    "du": ("-sh",),
    "export": (),
    "read": ("-rs",),
    "printf": (),
}


def faults(one: Simple) -> str:
    """What the program would not take of it; empty when it would."""
    table, everywhere = TABLES.get(one.program, ({}, frozenset()))
    if table:
        return _held([word for word in one.words if not word.startswith("-chdir=")], table, everywhere)
    if one.program == "python" and one.words[:4] == ("-m", "pip", "install", "-r"):
        return ""
    if one.program not in PLAIN:
        return f"nothing is known of {one.program}"
    wrong = [word for word in one.words if word.startswith("-") and word not in PLAIN[one.program]]
    return f"{one.program} has no {', '.join(wrong)}" if wrong else ""


def _flag(word: str) -> str:
    return word.partition("=")[0] if word.startswith("-") else word


def _held(words: list[str], table: dict[str, str], everywhere: frozenset[str]) -> str:
    """Whether the table has the subcommand, the longest that the words begin with, and all its flags."""
    said, skip = [], False
    for word in words:
        if not skip and not word.startswith("-"):
            said.append(word)
        skip = word.startswith("-") and "=" not in word and word not in SWITCHES
    paths = [path for path in table if said[: len(path.split())] == path.split()]
    if not paths:
        return f"no such subcommand in tests/cloud_tools.py: {' '.join(said[:4])}"
    path = max(paths, key=len)
    wrong = (
        {_flag(word) for word in words if word.startswith("-") and word != "-"} - set(table[path].split()) - everywhere
    )
    return f"{path} has no {', '.join(sorted(wrong))}" if wrong else ""


def told_by_the_programs() -> dict[str, str]:
    """What the lists have and a program on this machine has not, by program; nothing for a program that is not here."""
    found = {}
    for name, check in CHECKS.items():
        if shutil.which(name) and (said := check()):
            found[name] = said
    return found


def _gcloud_differs() -> str:
    """The SDK ships a tree of its commands and flags, for completion in a shell."""
    program = Path(shutil.which("gcloud") or "").resolve()
    tree_file = program.parents[1] / "data" / "cli" / "gcloud_completions.py"
    if not tree_file.exists():
        return ""
    text = tree_file.read_text()
    tree = json.loads(text[text.index("= {") + 2 :])
    faulty = []
    for path, flags in GCLOUD.items():
        node = tree
        for word in path.split():
            node = node["commands"].get(word, {"commands": {}, "flags": {}})
        if node["commands"] or (flags and not node["flags"]):
            faulty.append(path)
        known = set(node["flags"]) | {f"--no-{flag[2:]}" for flag in node["flags"]}
        faulty += [f"{path} {flag}" for flag in flags.split() if flag not in known]
    return ", ".join(faulty)


@functools.cache
def _help(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout + done.stderr


def _kubectl_differs() -> str:
    return ", ".join(
        f"{path} {flag}"
        for path, flags in KUBECTL.items()
        for flag in flags.split()
        if not re.search(rf"(?<![\w-]){flag}[=, ]", _help("kubectl", *path.split(), "--help"))
    )


def _docker_differs() -> str:
    return ", ".join(
        f"{path} {flag}"
        for path, flags in DOCKER.items()
        if not path.startswith("compose")  # a plugin, which may not be here
        for flag in flags.split()
        if not re.search(rf"(?<![\w-]){flag}[, ]", _help("docker", *path.split(), "--help"))
    )


def _terraform_differs() -> str:
    return ", ".join(
        f"{path} {flag}"
        for path, flags in TERRAFORM.items()
        for flag in [path, *flags.split()]
        if not re.search(rf"(?<![\w-]){flag}\b", _help("terraform", path, "-help"))
    )


CHECKS = {
    "gcloud": _gcloud_differs,
    "kubectl": _kubectl_differs,
    "docker": _docker_differs,
    "terraform": _terraform_differs,
}
