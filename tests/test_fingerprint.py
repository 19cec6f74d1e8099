"""The fingerprint: equal for questions that mean the same, different for any two that do not."""

import os
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from cells import rows
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from app.question import LANES, Caller, Labels, LaneAsk, LaneName, Message, Question, scope_of

ROOT = Path(__file__).parent.parent
HERE: dict[LaneName, str] = {"fast": "https://a.example/v1", "slow": ""}
ASK = LaneAsk("openai:small", 5.0, 2.0, 2.0)
PLAIN = Question((Message("user", "Why?"),), ASK, replace(ASK, model="openai:large"), 50.0)
TALK = replace(
    PLAIN,
    messages=(
        Message("system", "Wie heißt das?"),
        Message("assistant", "f 😀"),
        Message("user", "def f(x):\n    return x\n"),
    ),
    fast=replace(ASK, max_output_tokens=64, temperature=0.7),
)
# What was stored yesterday, by any Python, must be found today: these change with the protocol alone.
PINNED = {
    "plain": (PLAIN, "9d30188bbd623f71482adadc47e09846aaffb9b2ec892f8417ddcd3a30b80b31"),
    "talk": (TALK, "68e1668dbab9101f51c7ef4fc9ceb6eb1a5a57a9d588203fe55bbc7767acd699"),
}
few = settings(derandomize=True, max_examples=50, deadline=None, database=None)

# Letters, a mark that joins them, everything that might be taken for a boundary, and what is folded.
texts = st.text('ae\u0301\u0316é"\\,:[]{}\n\r\t \xa0\u2028\x00😀', max_size=8)
meanings = st.lists(st.sampled_from(["a", "é", "b c", "", "\n", "  x", '"],["user","', "한글"]), max_size=4)
asks = st.builds(
    LaneAsk,
    model=st.sampled_from(["openai:a", 'openai:a","version":"']),
    timeout_s=st.sampled_from([1.0, 2.0]),
    first_token_timeout_s=st.just(1.0),
    idle_timeout_s=st.just(1.0),
    max_output_tokens=st.sampled_from([None, 1, 10]),
    temperature=st.sampled_from([None, 0.0, 0, 1, 1.0, 0.1]),
)
messages = st.lists(st.builds(Message, st.sampled_from(["user", "assistant"]), texts), min_size=1, max_size=3)
questions = st.builds(
    Question,
    messages=messages.map(tuple),
    fast=asks,
    slow=asks,
    deadline_s=st.sampled_from([5.0, 6.0]),
    cache=st.sampled_from(["use", "refresh", "off"]),
    replay=st.sampled_from(["instant", "paced"]),
    on_disconnect=st.sampled_from(["cancel", "finish"]),
    labels=st.builds(Labels, st.sampled_from([None, "e"]), tags=st.sampled_from([(), ("t",)])),
)
scopes = st.sampled_from(["global", "caller:a", 'caller:a","x":"'])


def fingerprint(question: Question, scope: str = "caller:local", versions: dict[LaneName, str] = HERE) -> str:
    """The fingerprint alone."""
    return question.key(scope, versions).fingerprint


def asked(*texts: str) -> Question:
    """A question of these messages."""
    return replace(PLAIN, messages=tuple(Message("user", text) for text in texts))


def meaning(question: Question) -> list[Any]:
    """What changes the answer, said in another way than the code does."""
    said: list[Any] = [question.policy]
    for message in question.messages:
        lines = unicodedata.normalize("NFC", message.content).replace("\r\n", "\r").replace("\n", "\r").split("\r")
        said.append((message.role, "\n".join(line.rstrip() for line in lines).strip()))
    lanes = [question.lane(lane) for lane in LANES]
    return said + [(ask.model, ask.max_output_tokens, ask.temperature) for ask in lanes]


@few
@given(questions, questions, scopes, scopes)
def test_two_questions_share_a_fingerprint_only_if_they_mean_the_same(
    one: Question, other: Question, here: str, there: str
) -> None:
    """Whatever stands in its texts, a question has the fingerprint of another exactly when both mean the same."""
    same = meaning(one) == meaning(other) and here == there
    assert (one.key(here, HERE) == other.key(there, HERE)) == same
    assert (fingerprint(one, here) == fingerprint(other, there)) == same


@few
@given(texts, st.integers(0, 8), st.integers(0, 8))
def test_where_a_message_ends_matters(text: str, one: int, other: int) -> None:
    """The same letters in two messages, cut at another place, are another question."""
    here, there = (asked(text[:cut], text[cut:]) for cut in (one, other))
    assert (fingerprint(here) == fingerprint(there)) == (meaning(here) == meaning(there))


@few
@given(questions, questions)
def test_what_is_asked_decides_and_not_how(one: Question, other: Question) -> None:
    """Timeouts, deadline, cache, replay, on_disconnect and labels of a question change nothing."""
    fast, slow = (
        replace(there, model=here.model, max_output_tokens=here.max_output_tokens, temperature=here.temperature)
        for there, here in ((other.fast, one.fast), (other.slow, one.slow))
    )
    assert fingerprint(replace(other, messages=one.messages, fast=fast, slow=slow)) == fingerprint(one)


@few
@given(meanings, st.sampled_from(["\n", "\r\n", "\r", " \t\r\n", "\xa0\n"]), st.sampled_from(["NFC", "NFD"]))
def test_white_space_at_ends_and_unicode_form_do_not_matter(lines: list[str], end: str, form: Any) -> None:
    """Line ends of any kind, blanks before them and around a message, composed or decomposed letters: all the same."""
    written = unicodedata.normalize(form, " \n" + end.join(lines) + " \t")
    assert fingerprint(asked(written)) == fingerprint(asked("\n".join(lines)))


@rows(
    ("one", "other"),
    [("a b", "a  b"), ("if x:\n  y", "if x:\ny"), ("a\n\nb", "a\nb"), ("A", "a"), ("fi", "\ufb01"), ("x2", "x\u00b2")],
)
def test_white_space_within_and_lookalikes_matter(one: str, other: str) -> None:
    """Indentation, empty lines, case and compatibility forms are part of a question: it may be code."""
    assert fingerprint(asked(one)) != fingerprint(asked(other))


@rows(
    "changed",
    [
        asked("Why not?"),
        asked("Why?", "Why?"),
        asked("", "Why?"),
        replace(PLAIN, messages=(Message("system", "Why?"),)),
        replace(PLAIN, policy="another"),
        replace(PLAIN, fast=PLAIN.slow, slow=PLAIN.fast),
        replace(PLAIN, fast=replace(PLAIN.fast, max_output_tokens=1)),
        replace(PLAIN, fast=replace(PLAIN.fast, temperature=1)),
        replace(PLAIN, slow=replace(PLAIN.slow, max_output_tokens=1)),
        replace(PLAIN, slow=replace(PLAIN.slow, temperature=1)),
    ],
)
def test_every_field_that_changes_the_answer_matters(changed: Question) -> None:
    """Roles, texts, their number and order, policy, models and their parameters each make another question."""
    assert fingerprint(changed) != fingerprint(PLAIN)


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (0, -0.0), (2.50, 2.5)])
def test_a_number_has_one_form(one: float, other: float) -> None:
    """However a number was written, it is the same number; another is another."""
    here, there, beyond = (replace(PLAIN, fast=replace(ASK, temperature=value)) for value in (one, other, one + 0.1))
    assert fingerprint(here) == fingerprint(there) != fingerprint(beyond)


def test_the_address_of_a_model_and_the_scope_matter() -> None:
    """A model of the same name elsewhere, and the same question in another scope, have other fingerprints."""
    elsewhere: list[dict[LaneName, str]] = [{**HERE, "slow": "b"}, {"fast": "", "slow": HERE["fast"]}, {}]
    found = [fingerprint(PLAIN), *(fingerprint(PLAIN, versions=versions) for versions in elsewhere)]
    scopes = [scope_of(Caller("x", "y"), kind) for kind in ("caller", "tenant", "global")]
    assert len({*found, *(fingerprint(PLAIN, scope) for scope in scopes)}) == 7
    assert scope_of(Caller("x"), "tenant") == "caller:x"


@pytest.mark.parametrize("name", PINNED)
def test_a_fingerprint_is_the_same_everywhere(name: str) -> None:
    """A question has the fingerprint written here, whatever runs this: what is stored outlives a process."""
    question, expected = PINNED[name]
    assert fingerprint(question) == expected


def test_another_process_finds_the_same() -> None:
    """Another interpreter with another seed for its hashes computes the same fingerprint."""
    program = f"from app.question import *; print({TALK!a}.key('caller:local', {HERE!r}).fingerprint)"
    env = {**os.environ, "PYTHONHASHSEED": "4242"}
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True)
    assert said.stdout.strip() == fingerprint(TALK)


@pytest.mark.parametrize("marks", ["\u0301\u0316", "\u0f73"])
def test_a_heap_of_marks_costs_no_more_than_other_text(marks: str) -> None:
    """Marks in a row beyond all writing, which normalization would sort in quadratic time, are taken as they are."""
    begun = time.process_time()
    assert fingerprint(asked("e" + marks * 20_000)) != fingerprint(asked("e" + marks * 19_999))
    assert time.process_time() - begun < 0.5


def test_a_row_of_signs_is_no_heap_of_marks() -> None:
    """A drawn line or a row of emoji beside decomposed letters leaves the form of those without meaning."""
    drawn = "é " + "─" * 100 + " 😀" * 40 + "😀" * 40
    assert fingerprint(asked(unicodedata.normalize("NFD", drawn))) == fingerprint(asked(drawn))
