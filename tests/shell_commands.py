"""The commands that README.md and RUNBOOK.md tell their reader to type, taken apart.

A command is every command of a fenced `sh` block, and everything in backquotes that begins with a known program, behind
any NAME=value, and has at least one more word. `df` alone is a name; `tandem migrate` is a command.
"""

import re
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("README.md", "RUNBOOK.md")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
SEPARATORS = frozenset({";", "|", "||", "&", "&&"})
REDIRECTIONS = frozenset({">", ">>", "<", ">&", "&>"})

# Run by the test, against a real server and a real PostgreSQL of its own.
RUN = frozenset({"curl", "tandem", "make", "python", "psql"})
# Not here, or not to be had offline: taken apart, and held against what the program knows.
PARSED = frozenset({
    "gcloud", "cloud-sql-proxy", "docker", "kubectl", "terraform", "redis-cli", "sqlite3", "jq",
    "openssl", "df", "du", "kill", "cp", "export", "read", "printf",
})  # fmt: skip


@dataclass(frozen=True)
class Simple:
    """One program and its words, with the variables set for it alone."""

    program: str
    words: tuple[str, ...]
    sets: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """One command of a document, as it stands there, and where."""

    where: str
    text: str

    @property
    def simple(self) -> list[Simple]:
        """Every program that it starts, those inside $(...) too."""
        inner = [one for found in SUBSTITUTION.findall(self.text) for one in Command(self.where, found).simple]
        return inner + _simple(SUBSTITUTION.sub("SUBSTITUTED", self.text))

    @property
    def runs(self) -> bool:
        """Whether it can be run here: nothing but programs of ours, asking nobody but a server of ours."""
        return all(_runs(one) for one in self.simple)


def _runs(one: Simple) -> bool:
    remote = any(word.startswith(("https:", "http:", "$URL")) and "127.0.0.1" not in word for word in one.words)
    return one.program in RUN and not remote and one.words[:2] != ("-m", "pip")


def _simple(text: str) -> list[Simple]:
    """The simple commands of a line: what stands between ;, |, && and ||, less its redirections."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, "#"
    found: list[list[str]] = [[]]
    tokens = iter(lexer)
    for token in tokens:
        if token in SEPARATORS:
            found.append([])
        elif token in REDIRECTIONS:
            next(tokens, None)
        else:
            found[-1].append(token)
    return [_named(words) for words in found if words]


def _named(words: list[str]) -> Simple:
    """The program by its short name, and what was set before it."""
    sets = {}
    while words and (match := ASSIGNMENT.fullmatch(words[0])):
        sets[match[1]] = match[2]
        words = words[1:]
    if not words:  # an assignment by itself
        return Simple("export", tuple(f"{name}={value}" for name, value in sets.items()))
    return Simple(words[0].removeprefix(".venv/bin/"), tuple(words[1:]), sets)


def commands() -> list[Command]:
    """All of them, in the order of the documents."""
    return [command for name in DOCUMENTS for command in commands_of((ROOT / name).read_text(), name)]


def commands_of(text: str, name: str) -> list[Command]:
    """The commands of one document."""
    found = [(match.start(2), match[2]) for match in FENCE.finditer(text) if match[1] == "sh"]
    prose = FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    inline = [(match.start(1), match[1]) for match in INLINE.finditer(prose) if _is_command(match[1])]
    return [
        Command(f"{name}:{text.count(chr(10), 0, start) + 1}", line)
        for start, block in sorted(found + inline)
        for line in lines_of(block)
    ]


def blocks() -> list[tuple[str, str]]:
    """Every fenced block with its language and text."""
    return [(match[1], match[2]) for name in DOCUMENTS for match in FENCE.finditer((ROOT / name).read_text())]


def prose() -> list[str]:
    """Every line outside the fenced blocks."""
    return [line for name in DOCUMENTS for line in FENCE.sub("", (ROOT / name).read_text()).splitlines()]


def likely_commands() -> list[str]:
    """What stands in backquotes and reads like a command: a program of this machine, or a word with flags behind it."""
    several = [found for line in prose() for found in INLINE.findall(line) if re.match(r"[a-z][\w-]* ", found)]
    return [found for found in several if re.search(r" --?[a-z]", found) or shutil.which(found.split()[0])]


def _is_command(text: str) -> bool:
    words = text.replace("\\|", "|").split()
    while words and ASSIGNMENT.fullmatch(words[0]):
        words = words[1:]
    return len(words) > 1 and words[0].removeprefix(".venv/bin/") in RUN | PARSED


def lines_of(block: str) -> list[str]:
    """A block's commands: continued lines joined, lines of comment left out."""
    found, begun = [], ""
    for line in block.splitlines():
        begun += line
        if line.endswith("\\"):
            begun = begun[:-1].rstrip() + " "
            continue
        try:
            empty = not shlex.split(begun, comments=True)
        except ValueError:  # a quotation that goes on in the next line
            begun += "\n"
            continue
        if not empty:
            found.append(begun.strip())
        begun = ""
    assert not begun, f"never ends: {begun}"
    return found
