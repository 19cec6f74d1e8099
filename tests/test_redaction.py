"""What a redactor does to the entries of a run, mode by mode."""

import hashlib
import math
import re
from datetime import datetime
from typing import Any, Literal, get_args

import msgspec
import pytest
from cells import rows
from detector_rows import CLEAN, PERSONAL_ROWS, SECRET_ROWS
from entries import EPOCH, attachment, lane, opening, question

from app.events import Agreement, Usage, clean
from app.question import Content, Labels, LaneName, Message
from app.record.detectors import PERSONAL, SECRETS, mask
from app.record.entry import Closing, ContentNote, Entry, Interruption, LaneRecord, Opening
from app.record.redaction import CUT, Redactor

KEY = "AKIA" + "IOSFODNN7EXAMPLE"
MAIL = "jane@example.com"
MODES: tuple[Content, ...] = get_args(Content)
Streamed = Literal["full", "redacted"]

LABELS = Labels(f"exp {KEY}", f"for {MAIL}", None, ("plain", KEY))


def start(*texts: str, labels: Labels = LABELS, **changes: Any) -> Opening:
    """The opening of a run with these messages."""
    asked = question(labels=labels)
    messages = tuple(Message("user", text) for text in texts)
    return opening(question=type(asked)(messages, asked.fast, asked.slow, 50.0, labels=labels), **changes)


def closing(begun: Opening, **lanes: LaneRecord) -> Closing:
    """A closing with these lanes and a log."""
    named: dict[LaneName, LaneRecord] = {"fast": lane("fast"), "slow": lane("slow")}
    return Closing(
        opening=begun,
        status="completed",
        reason=None,
        final_lane="slow",
        verified=True,
        change="confirmed",
        agreement=Agreement("agree", "exact", 1, 1.0),
        latency_ms=81.5,
        usage=Usage(20, 4, None, None, "reported"),
        cost_nano=None,
        lanes={**named, **lanes},  # type: ignore[dict-item]
        log=b"event: start\n\nevent: done\n\n" + KEY.encode(),
        at_ms=(0, 82),
    )


def spoken(text: str = "", thinking: str = "", **changes: Any) -> LaneRecord:
    """A fast lane that said and thought this."""
    return msgspec.structs.replace(lane("fast", **changes), text=text, thinking=thinking)


def sha(text: str) -> str:
    """What hash_only puts in the place of a text."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def redacted(mode: Content, entry: Entry, max_text_chars: int = 10_000) -> Any:
    """The entry after one pass."""
    return Redactor(mode, max_text_chars)(entry)


SAMPLE = closing(
    start(f"my key {KEY}, my mail {MAIL}", "x" * 500 + f" {MAIL} a\x00b\ud800"),
    fast=spoken(f"You are {MAIL}", f"Key {KEY}" + "y" * 500, message=f"bad key {KEY}", reason="upstream_error"),
)
ENTRIES: dict[str, Entry] = {
    "opening": SAMPLE.opening,
    "closing": SAMPLE,
    "interruption": Interruption(SAMPLE.opening, EPOCH),
    "attachment": attachment(SAMPLE.opening),
}


def test_full_masks_secrets_and_keeps_the_rest() -> None:
    """Under full a message keeps everything but its secrets."""
    entry = redacted("full", start(f"my key {KEY}, my mail {MAIL}"))
    assert entry.question.messages[0].content == f"my key [masked:aws_access_key], my mail {MAIL}"
    assert entry.content == ContentNote("full", {"aws_access_key": 3})


def test_redacted_masks_personal_data_too() -> None:
    """Under redacted a message loses secrets and personal data."""
    entry = redacted("redacted", start(f"my key {KEY}, my mail {MAIL}"))
    assert entry.question.messages[0].content == "my key [masked:aws_access_key], my mail [masked:email]"
    assert entry.content.masked == {"aws_access_key": 3, "email": 2}


def test_hash_only_leaves_the_hash_of_every_text() -> None:
    """Under hash_only a text is the SHA-256 of what it was, and an empty one stays empty."""
    entry = redacted("hash_only", closing(start("What?"), fast=spoken("Paris.", "", message="no")))
    assert entry.opening.question.messages[0].content == sha("What?")
    fast = entry.lanes["fast"]
    assert (fast.text, fast.thinking, fast.end.message) == (sha("Paris."), "", sha("no"))


def test_none_leaves_no_text() -> None:
    """Under none every text is empty, and a message that was not there stays away."""
    entry = redacted("none", closing(start("What?"), fast=spoken("Paris.", "Hm.", message="no")))
    assert entry.opening.question.messages[0] == Message("user", "")
    fast, slow = entry.lanes["fast"], entry.lanes["slow"]
    assert (fast.text, fast.thinking, fast.end.message, slow.end.message) == ("", "", "", None)


@rows("mode", MODES)
def test_the_log_is_kept_as_streamed_or_not_at_all(mode: Content) -> None:
    """The log and its times are untouched under full and redacted, and empty otherwise."""
    entry = redacted(mode, SAMPLE)
    kept = (SAMPLE.log, SAMPLE.at_ms) if mode in get_args(Streamed) else (b"", ())
    assert (entry.log, entry.at_ms) == kept


@rows("mode", MODES)
def test_labels_are_kept_masked(mode: Content) -> None:
    """Labels and tags stay in every mode, masked; personal data stays in them under full alone."""
    labels = redacted(mode, start("What?")).question.labels
    variant = f"for {MAIL}" if mode == "full" else "for [masked:email]"
    assert labels == Labels("exp [masked:aws_access_key]", variant, None, ("plain", "[masked:aws_access_key]"))


@rows("mode", MODES)
@rows("kind", ENTRIES)
def test_no_secret_leaves_a_redactor(mode: Content, kind: str) -> None:
    """A secret is in no part of an entry, the streamed log excepted."""
    entry = redacted(mode, ENTRIES[kind])
    bare = msgspec.structs.replace(entry, log=b"") if kind == "closing" else entry
    assert KEY.encode() not in msgspec.msgpack.encode(bare)


@rows("mode", MODES)
@rows("kind", ENTRIES)
@rows("max_chars", [64, 100, 10_000])
def test_redacting_again_changes_nothing(mode: Content, kind: str, max_chars: int) -> None:
    """A second pass gives the same entry, its notes included."""
    once = redacted(mode, ENTRIES[kind], max_chars)
    assert redacted(mode, once, max_chars) == once
    assert redacted(mode, ENTRIES[kind], max_chars) == once


@rows("mode", MODES)
@rows("kind", ENTRIES)
def test_a_redacted_entry_can_be_encoded(mode: Content, kind: str) -> None:
    """What comes out survives encoding and decoding, and holds neither NUL nor surrogates."""
    entry = redacted(mode, ENTRIES[kind])
    encoded = msgspec.msgpack.encode(entry)
    assert msgspec.msgpack.decode(encoded, type=type(entry)) == entry
    assert b"\x00" not in msgspec.json.encode(entry)


@pytest.mark.parametrize("mode", ["full", "redacted"])
def test_texts_are_masked_as_each_would_be_alone(mode: Streamed) -> None:
    """Whatever else an entry holds, and beside which text, a text loses what it would lose by itself, and no more."""
    detectors = SECRETS if mode == "full" else (*SECRETS, *PERSONAL)
    texts = [re.sub("[⟦⟧]", "", text) for text, _ in (*SECRET_ROWS, *PERSONAL_ROWS)] + CLEAN
    for before, text, after in zip(texts, texts[1:], texts[2:], strict=False):
        entry = closing(start(before, labels=Labels()), fast=spoken(text, after))
        kept = redacted(mode, entry)
        found = [kept.opening.question.messages[0].content, kept.lanes["fast"].text, kept.lanes["fast"].thinking]
        assert found == [mask(clean(one), detectors)[0] for one in (before, text, after)]


PLAIN = closing(start("What?", labels=Labels()))
PLACES = [
    "opening.question.messages.0.content",
    *(f"opening.question.{lane}.model" for lane in ("fast", "slow")),
    *(f"opening.question.labels.{name}" for name in ("experiment", "variant", "prompt_class", "tags")),
    "reason",
    *(f"lanes.slow.{name}" for name in ("model", "text", "thinking", "finish_reason")),
    *(f"lanes.slow.end.{name}" for name in ("reason", "message", "model_version")),
]
NUMBERS = ["latency_ms", "agreement.similarity", "lanes.slow.end.ttft_ms", "lanes.slow.end.cost_usd"]
NUMBERS += [f"opening.question.{lane}.temperature" for lane in ("fast", "slow")]


def put(entry: Closing, place: str, value: object) -> Closing:
    """The closing with that value alone at one place of it."""
    whole = msgspec.to_builtins(entry, builtin_types=(bytes, datetime))
    *path, last = place.split(".")
    at = whole
    for step in path:
        at = at[int(step)] if isinstance(at, list | tuple) else at[step]
    at[last] = value
    return msgspec.convert(whole, Closing)


@pytest.mark.parametrize("mode", ["full", "redacted"])
@rows("place", PLACES)
def test_one_secret_is_found_wherever_it_is(mode: Streamed, place: str) -> None:
    """A secret in a single place of an entry that has nothing else to mask is masked there."""
    said = f"see {KEY} here"
    entry = put(PLAIN, place, [said] if place.endswith("tags") else said)
    assert KEY not in repr(redacted(mode, msgspec.structs.replace(entry, log=b"")))


@rows("place", NUMBERS)
def test_one_number_that_is_none_is_found_wherever_it_is(place: str) -> None:
    """NaN in a single place of an entry that has nothing to mask becomes None there."""
    assert re.search(r"\bnan\b", repr(redacted("full", put(PLAIN, place, math.nan)))) is None


def test_a_run_keeps_who_and_when() -> None:
    """Ids, times, versions, the caller and the prices are not touched."""
    entry = redacted("none", SAMPLE)
    for field in ("run_id", "created_at", "caller", "fingerprint", "source", "instance"):
        assert getattr(entry.opening, field) == getattr(SAMPLE.opening, field)
    assert (entry.status, entry.version, entry.usage) == (SAMPLE.status, SAMPLE.version, SAMPLE.usage)
    assert entry.lanes["slow"].end == SAMPLE.lanes["slow"].end


def test_a_long_text_is_cut_and_says_so() -> None:
    """A text beyond the bound ends with a marker, within the bound, and the note names it."""
    entry = redacted("full", closing(start("a" * 101), fast=spoken("b" * 100, "c" * 5000)), 100)
    assert entry.opening.question.messages[0].content == "a" * (100 - len(CUT)) + CUT
    assert entry.opening.content.cut == ("messages.0",)
    assert entry.lanes["fast"].text == "b" * 100
    assert len(entry.lanes["fast"].thinking) == 100
    assert entry.content.cut == ("fast.thinking",)


def test_a_long_answer_is_cut_in_an_entry_with_nothing_to_mask() -> None:
    """A text beyond the bound is cut also where nothing else is to be done."""
    entry = redacted("full", closing(start("What?", labels=Labels()), fast=spoken("word " * 100)), 64)
    assert entry.lanes["fast"].text.endswith(CUT)
    assert entry.content.cut == ("fast.answer",)


def test_a_secret_at_the_cut_is_masked_whole() -> None:
    """A secret that the bound would halve is masked before the cut."""
    entry = redacted("full", start("a " * 40 + KEY + " tail" * 100), 90)
    assert "AKIA" not in entry.question.messages[0].content


def test_what_the_cut_lays_bare_is_masked() -> None:
    """Digits that are a card number only once the rest is cut away do not stay."""
    text = "card " * 9 + "4111 1111 1111 1111" + "1" * 20
    entry = redacted("redacted", start(text, labels=Labels()), 64 + len(CUT))
    assert redacted("redacted", entry, 64 + len(CUT)) == entry


def test_the_log_is_never_cut() -> None:
    """A log longer than any text may be is left whole."""
    entry = redacted("full", msgspec.structs.replace(SAMPLE, log=b"z" * 5000), 64)
    assert len(entry.log) == 5000


def test_nul_and_lone_surrogates_are_replaced_and_counted() -> None:
    """Each NUL and each lone half becomes U+FFFD; two halves that belong together are joined."""
    entry = redacted("full", start("a\x00b\ud800c\udc00", "\ud83d\ude00", labels=Labels(tags=("\x00",))))
    assert [m.content for m in entry.question.messages] == ["a\ufffdb\ufffdc\ufffd", "\U0001f600"]
    assert entry.question.labels.tags == ("\ufffd",)
    assert entry.content.replaced == 4


def test_numbers_that_are_none_become_unknown() -> None:
    """NaN and the infinities become None wherever None is allowed."""
    broken = spoken("x", ttft_ms=math.nan, cost_usd=math.inf)
    whole = closing(start("What?"), fast=broken)
    whole = msgspec.structs.replace(whole, latency_ms=-math.inf, agreement=Agreement("unknown", "none", 1, math.nan))
    entry = redacted("full", whole)
    end = entry.lanes["fast"].end
    assert (end.ttft_ms, end.cost_usd, entry.latency_ms, entry.agreement.similarity) == (None, None, None, None)


def test_notes_of_earlier_work_are_kept() -> None:
    """Work done before, by whomever, stays in the note and is added to."""
    before = ContentNote("full", {"email": 2, "aws_access_key": 1}, ("payload",), 3)
    entry = redacted("redacted", start(f"{KEY}\x00", content=before, labels=Labels()))
    assert entry.content == ContentNote("redacted", {"aws_access_key": 2, "email": 2}, ("payload",), 4)


def test_the_notes_of_a_closing_and_of_its_opening_are_apart() -> None:
    """An opening's note tells of its messages and labels, a closing's of its lanes."""
    entry = redacted("redacted", SAMPLE)
    assert entry.opening.content == redacted("redacted", SAMPLE.opening).content
    assert entry.content.masked == {"aws_access_key": 2, "email": 1}


def test_a_key_put_where_a_model_belongs_is_masked() -> None:
    """A model's name and its version are searched for secrets too."""
    record = msgspec.structs.replace(lane("fast", model_version=KEY), model=f"openai:{KEY}")
    entry = redacted("full", closing(start("What?"), fast=record))
    assert entry.lanes["fast"].model == "openai:[masked:aws_access_key]"
    assert entry.lanes["fast"].end.model_version == "[masked:aws_access_key]"


def test_a_bound_too_small_for_the_marker_is_refused() -> None:
    """A redactor is not made with a bound that leaves no text."""
    with pytest.raises(ValueError, match="at least 64"):
        Redactor("full", 10)
