"""Find secrets and personal data in a text, and mask them.

Plain prose must cost next to nothing, so nothing here scans a text with a regular expression. A text is sketched in
bytes, one a character: its long unbroken runs, and its digits and letters as `0` and `a`. What detectors look for shows
in a sketch as a literal, which bytes.find finds at memory speed, and only there a pattern is tried. Patterns are
possessive or short, so that the time is linear in the text's length, whatever it holds.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Final, Literal, NamedTuple

from app.record.numbers import number_spans

MAX_PASSES: Final = 8
MIN_RUN: Final = 20  # the shortest key any provider issues
MIN_FIND: Final = 6  # a@b.cd

_LONG: Final = b"x" * MIN_RUN
_RUNS: Final = bytes(120 if chr(c).isascii() and (chr(c).isalnum() or chr(c) in "_-.") else 32 for c in range(256))
_CLASSES: Final = {"0": "0123456789", " ": " \xa0().-/", "a": "".join(c for c in map(chr, range(256)) if c.isalpha())}
_SHAPE: Final = bytes(next((ord(k) for k, of in _CLASSES.items() if chr(c) in of), 33) for c in range(256))


class Span(NamedTuple):
    """A place to mask; of two that overlap the one with the lower rank gives its name to both."""

    start: int
    end: int
    rank: int
    name: str


class Sketch:
    """A text and its byte-for-character pictures; a character beyond Latin-1 is `?` in them.

    runs: `x` for letters, digits and what joins them in a key, else a space. shape: `0` for a digit, `a` for a letter,
    a space for what may stand between the digits of one number, else `!`. mixed: a digit follows a letter somewhere, as
    in every password and key worth the name; only then is there a picture in lower case, folded.
    """

    __slots__ = ("folded", "mixed", "raw", "runs", "shape", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.raw = text.encode("latin-1", "replace")
        self.runs = self.raw.translate(_RUNS)
        self.shape = self.raw.translate(_SHAPE)
        self.mixed = self.shape.find(b"a0") >= 0  # `in` tries bytes as a number first, which takes twice as long
        self.folded = self.raw.lower() if self.mixed else b""


def places(picture: bytes, literal: bytes) -> Iterator[int]:
    """Where a literal begins, again and again."""
    at = picture.find(literal)
    while at >= 0:
        yield at
        at = picture.find(literal, at + len(literal))


# What each provider's keys look like, in runs of letters, digits, `_`, `-` and `.`.
_KEYS: Final = re.compile(
    r"""(?x) (?: (?<![A-Za-z0-9]) | (?<=\\[nrt]) ) (?:
      (?P<jwt> (?<![\w-])eyJ[\w-]{8,}+\.eyJ[\w-]{4,}+\.[\w-]{8,}+ )
    | (?P<tandem_key> tandem_[a-z0-9]{12}_[A-Za-z0-9][A-Za-z0-9-]{19,}+ )
    | (?P<anthropic_key> sk-ant-[\w-]{20,}+ )
    | (?P<openrouter_key> sk-or-[\w-]{20,}+ )
    | (?P<openai_key> sk-(?:proj|svcacct|admin|None)-[\w-]{20,}+ | sk-(?=\w*\d)(?=\w*[A-Za-z])\w{20,}+ )
    | (?P<google_key> AIza[\w-]{35} | ya29\.[\w.-]{20,}+ | GOCSPX-[\w-]{24,}+ )
    | (?P<aws_access_key> A(?:KIA|SIA|BIA|CCA)(?=[A-Z]{0,15}[2-7])[A-Z2-7]{16}(?![A-Z0-9]) )
    | (?P<github_token> gh[pousr]_[A-Za-z0-9]{36,}+ | github_pat_\w{40,}+ )
    | (?P<gitlab_token> gl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat)-[\w-]{20,}+(?:\.\w+)*+ )
    | (?P<slack_token> xox[abeoprs](?:\.xox[bp])?-(?=[\w-]{0,80}\d)[\w-]{10,}+ | xapp-\d-[\w-]{20,}+ )
    | (?P<stripe_key> [sr]k_(?:live|test)_\w{16,}+ | whsec_\w{24,}+ )
    | (?P<huggingface_token> (?:hf|api_org)_[A-Za-z0-9]{30,}+ )
    | (?P<xai_key> xai-\w{40,}+ )
    | (?P<groq_key> gsk_\w{40,}+ )
    | (?P<perplexity_key> pplx-\w{40,}+ )
    | (?P<cerebras_key> csk-\w{40,}+ )
    | (?P<replicate_key> r8_\w{37,}+ )
    | (?P<nvidia_key> nvapi-[\w-]{40,}+ )
    | (?P<together_key> tgp_v\d_[\w-]{40,}+ )
    | (?P<fireworks_key> fw_(?=\w*\d)[A-Za-z0-9]{20,}+ )
    | (?P<databricks_token> dapi[0-9a-f]{32}(?:-\d)? )
    | (?P<npm_token> npm_[A-Za-z0-9]{36} )
    | (?P<pypi_token> pypi-AgE[\w-]{50,}+ )
    | (?P<sendgrid_key> SG\.[\w-]{16,}+\.[\w-]{16,}+ )
    | (?P<digitalocean_token> do[opr]_v1_[0-9a-f]{64} )
    | (?P<vault_token> hv[sbr]\.[\w-]{20,}+ )
    | (?P<shopify_token> shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32} )
    | (?P<telegram_token> (?<=\d:)AA[\w-]{33}(?![\w-]) )
    )""",
    re.ASCII,
)
_AWS_PAIR: Final = re.compile(r"[^\w/+]{1,8}(?:[A-Za-z_ ]{0,32}[^\w/+]{1,6})?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])")
_PEM: Final = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?:[^-]|-(?!----)){20,16384}-----END [A-Z0-9 ]{0,60}-----|(?:(?:\s|\\[nr])*[A-Za-z0-9+/=]{20,}+)+)"
)
_URL: Final = re.compile(r"""://[^\s:/@"'<>\[\]]{0,256}+:(?!\[masked:|[${<*])([^\s/"'<>]{1,256})@[\w\[]""")
_BEARER: Final = re.compile(r"(?i)bearer[ \t]{1,4}(?=[\w.~+/-]*\d)(?=[\w.~+/-]*[a-z])([\w.~+/-]{16,}+=*)", re.ASCII)
_BASIC: Final = re.compile(r"(?i)basic[ \t]{1,4}([a-z0-9+/]{12,}+=*)", re.ASCII)
_PASSWORDS: Final = (b"passw", b"passphrase", b"kennwort", b"pwd")
_ASSIGNEES: Final = (b"secret", b"token", b"key")
_GIVEN: Final = r"""["'`]{0,3}\ {0,3}(?: := | => | [:=] | \bis\b )\s{0,3}["'`]{0,3} (?! [/$<{*%] )"""
_PASSWORD: Final = re.compile(
    rf"""(?ix) (?: pass(?:word|wort|wd|phrase) | kennwort | pwd ) (?:_?(?:hash|value))?
        {_GIVEN} ([^\s"'`,;<>()\[\]{{}}|\\]{{8,128}}+) (?! [(\[{{] )"""
)
_ASSIGNED: Final = re.compile(
    rf"""(?ix) (?: secret(?:[_ -]?(?:access[_ -]?)?key(?:_base)?)? | (?:token|key)(?:_?value)? )
        {_GIVEN} ([^\s"'`,;<>()\[\]{{}}|\\=:&]{{8,4096}}+ =*+) (?! [(\[{{] )"""
)
_KINDS_OF_KEY: Final = re.compile(
    rb"(?:api|access|private|account|auth|secret|encrypt|signing|subscription|license|master|shared|client)[_ -]?\Z"
)
_AWS_SECRET: Final = re.compile(r"(?i)secret[_ -]?access[_ -]?key|aws[_ -]?secret")
_WORDS: Final = re.compile(r"(?:(?:[A-Z]{0,4}[a-z]{2,}+|[A-Z]++|[a-z])*+\d{0,4}+[a-z]{0,2}+(?:[._/@+-]++|\Z))++")
_INSTANT: Final = re.compile(r"\d{4}-\d\d-\d\d|\d\d?:\d\d")


def keys(sketch: Sketch) -> Iterator[tuple[int, int, str]]:
    """Keys that their provider's prefix gives away."""
    at = sketch.runs.find(_LONG)
    while at >= 0:
        end = sketch.runs.find(b" ", at + MIN_RUN)
        end = len(sketch.runs) if end < 0 else end
        for match in _KEYS.finditer(sketch.text, at, end):
            yield match.start(), match.end(), match.lastgroup or ""
            if match.lastgroup == "aws_access_key" and (pair := _AWS_PAIR.match(sketch.text, match.end())):
                yield *pair.span(1), "aws_secret_key"
        at = sketch.runs.find(_LONG, end)


def private_keys(sketch: Sketch) -> Iterator[tuple[int, int, str]]:
    """Private keys in PEM, whole or cut off."""
    for at in places(sketch.raw, b"-----BEGIN"):
        if match := _PEM.match(sketch.text, at):
            yield *match.span(), "private_key"


def url_passwords(sketch: Sketch) -> Iterator[tuple[int, int, str]]:
    """The password in the address of a server, not the rest of the address."""
    for at in places(sketch.raw, b"://"):
        if match := _URL.match(sketch.text, at):
            yield *match.span(1), "url_password"


def credentials(sketch: Sketch) -> Iterator[tuple[int, int, str]]:
    """What an Authorization header carries."""
    for literal, pattern, name in ((b"bearer", _BEARER, "bearer_token"), (b"basic ", _BASIC, "basic_credentials")):
        for at in places(sketch.folded, literal):
            match = pattern.match(sketch.text, at)
            if match and (name == "bearer_token" or sketch.folded.find(b"authorization", max(0, at - 24), at) >= 0):
                yield *match.span(1), name


def passwords(sketch: Sketch) -> Iterator[tuple[int, int, str]]:
    """`password: value`, when the value is not a word."""
    for literal in _PASSWORDS:
        done = 0
        for at in places(sketch.folded, literal):
            if at >= done and (match := _PASSWORD.match(sketch.text, at)):
                done = match.end()
                if chosen(match[1]):
                    yield *match.span(1), "password"


def assigned_keys(sketch: Sketch) -> Iterator[tuple[int, int, str]]:
    """`api_key=value` and its like, when the value is random."""
    for literal in _ASSIGNEES:
        for at in places(sketch.folded, literal):
            match = _ASSIGNED.match(sketch.text, at)
            if match is None or not random(match[1]):
                continue
            if literal == b"key" and not _KINDS_OF_KEY.search(sketch.folded[max(0, at - 16) : at]):
                continue
            aws = len(match[1]) == 40 and _AWS_SECRET.search(sketch.text, max(0, at - 20), match.start(1))
            yield *match.span(1), "aws_secret_key" if aws else "assigned_key"


_LOCAL: Final = re.compile(r"[\w%+-][\w.%+'-]{0,63}+")  # backwards
_DOMAIN: Final = re.compile(
    r"@(?:(?:[^\W_](?:[^\W_]|-(?=[^\W_]|-)){0,62}+)\.){1,8}(?:[^\W\d_]{2,24}+|xn--[\w-]{2,40}+)(?![\w-])"
)
_FILES: Final = re.compile(r"(?i)\.(?:png|jpe?g|gif|svg|webp|css|js|json|py|md|txt|yaml|yml)\Z")


def emails(sketch: Sketch) -> Iterator[tuple[int, int, str]]:
    """Addresses of e-mail; not the user of a URL, nor `git@host:path`."""
    for at in places(sketch.raw, b"@"):
        domain = _DOMAIN.match(sketch.text, at)
        local = domain and _LOCAL.match(sketch.text[max(0, at - 64) : at][::-1])
        if not domain or not local or _FILES.search(domain[0]):
            continue
        start = at - len(local[0].rstrip(".'"))
        of_a_machine = sketch.text[start:at] == "git" or sketch.text[max(0, start - 3) : start].endswith("//")
        if not of_a_machine and start < at:
            yield start, domain.end(), "email"


def numbers(sketch: Sketch) -> Iterator[tuple[int, int, str]]:
    """Payment cards, IBANs and phone numbers."""
    return number_spans(sketch.text, sketch.shape, plus=sketch.raw.find(b"+") >= 0)


class Detector(NamedTuple):
    """Finds one kind of thing; worth a call only where one of the literals stands in that picture of a text."""

    picture: Literal["raw", "runs", "shape", "folded"]
    literals: tuple[bytes, ...]
    find: Callable[[Sketch], Iterator[tuple[int, int, str]]]


SECRETS: Final = (
    Detector("raw", (b"-----BEGIN",), private_keys),
    Detector("runs", (_LONG,), keys),
    Detector("raw", (b"://",), url_passwords),
    Detector("folded", (b"bearer", b"basic "), credentials),
    Detector("folded", _PASSWORDS, passwords),
    Detector("folded", _ASSIGNEES, assigned_keys),
)
PERSONAL: Final = (Detector("shape", (b"0",), numbers), Detector("raw", (b"@",), emails))


def chosen(value: str) -> bool:
    """Whether a value is a password somebody chose, not a word, a name in a program or a path."""
    value = value.rstrip(".:!?")
    if not random(value, least=8):
        return bool(re.search(r"[A-Z]", value) and re.search(r"\d", value) and re.search(r"[!#$%^&*?~]", value))
    return True


def random(value: str, least: int = 16) -> bool:
    """Whether a value looks drawn from a hat: long enough, digits among letters, no words, no date, few repeats."""
    value = value[:256].rstrip(".:!?")
    kinds = {("0" if c.isdigit() else "a" if c.isalpha() else "!") for c in value}
    if len(value) < least or not kinds >= {"0", "a"} or "://" in value:
        return False
    if _WORDS.fullmatch(value) or _INSTANT.match(value):
        return False
    turns = sum(1 for _ in groupby(value, lambda c: "0" if c.isdigit() else "a" if c.islower() else "A"))
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())
    return turns >= 4 and bits >= 2.75


def spans(text: str, detectors: Sequence[Detector]) -> list[Span]:
    """What is to be masked, in order, nothing overlapping."""
    sketch = Sketch(text)
    found: list[Span] = []
    for rank, (picture, literals, find) in enumerate(detectors):
        seen: bytes = getattr(sketch, picture)
        for literal in literals:
            if seen.find(literal) >= 0:
                found += [Span(start, end, rank, name) for start, end, name in find(sketch)]
                break
    joined: list[Span] = []
    for span in sorted(found):
        if joined and span.start < joined[-1].end:
            first = joined.pop()
            best = min(first, span, key=lambda s: s.rank)
            joined.append(Span(first.start, max(first.end, span.end), best.rank, best.name))
        else:
            joined.append(span)
    return joined


def mask(text: str, detectors: Sequence[Detector]) -> tuple[str, Counter[str]]:
    """The text with `[masked:name]` for everything found, and how often each was.

    Masking one thing can lay bare another beside it, so it goes on until nothing is found.
    """
    counts: Counter[str] = Counter()
    for _ in range(MAX_PASSES if len(text) >= MIN_FIND else 0):
        found = spans(text, detectors)
        if not found:
            break
        counts.update(span.name for span in found)
        pieces: list[str] = []
        at = 0
        for span in found:
            pieces += (text[at : span.start], f"[masked:{span.name}]")
            at = span.end
        text = "".join((*pieces, text[at:]))
    return text, counts
