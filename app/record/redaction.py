"""What may be written down: secrets and personal data masked, or no text at all, everything bounded and encodable.

It happens before an entry is put anywhere. Pure, and doing it again changes nothing.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, TypeVar, overload

from msgspec.structs import replace

from app.events import LaneEnd, clean
from app.question import KEEPING_TEXTS, Content, Labels, LaneAsk, LaneName, Message, Question, stricter
from app.record.detectors import MIN_RUN, PERSONAL, SECRETS, Detector, mask, spans
from app.record.entry import Attachment, Closing, ContentNote, Entry, Interruption, LaneRecord, Opening

CUT: Final = " [cut]"
MIN_TEXT_CHARS: Final = 64
MAX_CUTS: Final = 8

_HASHED: Final = re.compile(r"sha256:[0-9a-f]{64}")
_ALL: Final = (*SECRETS, *PERSONAL)
_BETWEEN: Final = "\n;\n"  # texts that are looked through together: nothing that is found goes over this
_UNLABELLED: Final = Labels()
_Begun = TypeVar("_Begun", Opening, Closing)


class Redactor:
    """Makes an entry fit to be kept.

    full masks secrets, redacted personal data as well; a text is cut at max_text_chars. hash_only puts the SHA-256 of
    a text in its place, none puts nothing there, and neither keeps the streamed log; labels stay, masked. An empty text
    stays empty. What the log holds under full and redacted is what was streamed. An entry whose caller was granted a
    stricter mode is treated by that.
    """

    def __init__(self, mode: Content, max_text_chars: int) -> None:
        if max_text_chars < MIN_TEXT_CHARS:
            raise ValueError(f"max_text_chars must be at least {MIN_TEXT_CHARS}")
        self._mode: Content = mode
        self._max_chars = max_text_chars

    def __call__(self, entry: Entry) -> Entry:
        """The entry as it may be kept, with a note of what was done to it."""
        match entry:
            case Opening():
                return self._opening(entry)
            case Interruption():
                return replace(entry, opening=self._opening(entry.opening))
            case Closing():
                return self._closing(entry)
            case Attachment():
                labels = self._work(entry.mode).labels(entry.labels)
                return replace(entry, labels=labels)

    def remark(self, text: str, granted: Content | None = None) -> str:
        """A text that somebody writes about a run afterwards: kept in every mode and masked, as a label is."""
        return self._work(granted or "full").label("", text)

    def _work(self, granted: Content) -> "_Work":
        return _Work(stricter(self._mode, granted), self._max_chars)

    def _opening(self, opening: Opening) -> Opening:
        work = self._work(opening.content.mode)
        question = opening.question
        if work.may_keep(_asked(question), _temperatures(question)):
            return _noted(opening, work)
        return replace(opening, question=work.question(question), content=work.note(opening.content))

    def _closing(self, closing: Closing) -> Closing:
        work = self._work(stricter(closing.content.mode, closing.opening.content.mode))
        if work.may_keep(_texts(closing), _numbers(closing)):
            opening = _noted(closing.opening, self._work(closing.opening.content.mode))
            return _noted(closing if opening is closing.opening else replace(closing, opening=opening), work)
        streamed = work.mode in KEEPING_TEXTS
        agreement = closing.agreement
        if agreement is not None:
            agreement = replace(agreement, similarity=_finite(agreement.similarity))
        return replace(
            closing,
            opening=self._opening(closing.opening),
            reason=work.name("reason", closing.reason),
            agreement=agreement,
            latency_ms=_finite(closing.latency_ms),
            lanes={name: work.lane(name, lane) for name, lane in closing.lanes.items()},
            log=closing.log if streamed else b"",
            at_ms=closing.at_ms if streamed else (),
            content=work.note(closing.content),
        )


class _Work:
    """One pass over the texts of an opening or a closing; what is done adds up here."""

    def __init__(self, mode: Content, max_chars: int) -> None:
        self.mode: Content = mode
        self._max_chars = max_chars
        self._masked: dict[str, int] = {}
        self._cut: list[str] = []
        self._replaced = 0

    def may_keep(self, texts: list[str | None], numbers: list[float | None]) -> bool:
        """Whether all of these may be kept as they are: one look at all texts is a third of one at each."""
        if self.mode not in KEEPING_TEXTS or not all(map(math.isfinite, filter(None, numbers))):
            return False
        whole = _BETWEEN.join([text for text in texts if text])
        if len(whole) > self._max_chars or clean(whole) is not whole:
            return False
        return not spans(whole, _ALL if self.mode == "redacted" else SECRETS)

    def note(self, before: ContentNote) -> ContentNote:
        """What was done, now and before."""
        if not (self._masked or self._cut or self._replaced):
            return before if before.mode == self.mode else replace(before, mode=self.mode)
        return ContentNote(
            mode=self.mode,
            masked=dict(sorted((Counter(self._masked) + Counter(before.masked)).items())),
            cut=before.cut + tuple(where for where in self._cut if where not in before.cut),
            replaced=before.replaced + self._replaced,
        )

    def question(self, question: Question) -> Question:
        """With every message, label and name fit to be kept."""
        messages = (
            Message(message.role, self.content(f"messages.{i}", message.content))
            for i, message in enumerate(question.messages)
        )
        return replace(
            question,
            messages=tuple(messages),
            fast=self._ask("fast", question.fast),
            slow=self._ask("slow", question.slow),
            labels=self.labels(question.labels),
        )

    def lane(self, name: LaneName, lane: LaneRecord) -> LaneRecord:
        """With everything it said fit to be kept."""
        return replace(
            lane,
            end=self._end(name, lane.end),
            model=self.name(f"{name}.model", lane.model),
            text=self.content(f"{name}.answer", lane.text),
            thinking=self.content(f"{name}.thinking", lane.thinking),
            finish_reason=self.name(f"{name}.finish_reason", lane.finish_reason),
        )

    def content(self, where: str, text: str) -> str:
        """A text of the conversation."""
        text = self._encodable(text)
        if self.mode == "none" or not text:
            return ""
        if self.mode == "hash_only":
            return text if _HASHED.fullmatch(text) else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
        return self._bounded(where, text, personal=self.mode == "redacted")

    def label(self, where: str, text: str) -> str:
        """A text of an experimenter, kept in every mode."""
        return self._bounded(where, self._encodable(text), personal=self.mode != "full")

    @overload
    def name(self, where: str, text: str) -> str: ...

    @overload
    def name(self, where: str, text: str | None) -> str | None: ...

    def name(self, where: str, text: str | None) -> str | None:
        """The name of a model or of a reason: no personal data, but it may hold what somebody put there by mistake."""
        if text is None:
            return None
        text = self._encodable(text)
        if len(text) < MIN_RUN or (len(text) <= self._max_chars and _is_harmless(text)):
            return text
        return self._bounded(where, text, personal=False)

    def _ask(self, lane: LaneName, ask: LaneAsk) -> LaneAsk:
        return replace(ask, model=self.name(f"{lane}.model", ask.model), temperature=_finite(ask.temperature))

    def labels(self, labels: Labels) -> Labels:
        """Every label of an experimenter's."""
        if labels == _UNLABELLED:
            return labels
        texts = {
            field: None if text is None else self.label(f"labels.{field}", text)
            for field in ("experiment", "variant", "prompt_class")
            for text in (getattr(labels, field),)
        }
        return Labels(**texts, tags=tuple(self.label(f"labels.tags.{i}", tag) for i, tag in enumerate(labels.tags)))

    def _end(self, lane: LaneName, end: LaneEnd) -> LaneEnd:
        return replace(
            end,
            reason=self.name(f"{lane}.reason", end.reason),
            message=None if end.message is None else self.content(f"{lane}.message", end.message),
            ttft_ms=_finite(end.ttft_ms),
            cost_usd=_finite(end.cost_usd),
            model_version=self.name(f"{lane}.model_version", end.model_version),
        )

    def _encodable(self, text: str) -> str:
        cleaned = clean(text)
        if cleaned is not text:
            self._replaced += cleaned.count("\ufffd") - text.count("\ufffd")
        return cleaned

    def _bounded(self, where: str, text: str, *, personal: bool) -> str:
        """Masked before the cut, which could halve a secret, and after it, since it can lay one bare."""
        detectors = _ALL if personal else SECRETS
        text = self._masking(text, detectors)
        for _ in range(MAX_CUTS):
            if len(text) <= self._max_chars:
                return text
            if where not in self._cut:
                self._cut.append(where)
            text = self._masking(self._shortened(text), detectors)
        return self._shortened(text)

    def _masking(self, text: str, detectors: Sequence[Detector]) -> str:
        text, counts = mask(text, detectors)
        if counts:
            self._masked = counts + Counter(self._masked)
        return text

    def _shortened(self, text: str) -> str:
        return text[: self._max_chars - len(CUT)] + CUT


@lru_cache(1024)
def _is_harmless(name: str) -> bool:
    """Whether a name holds nothing to mask; a server's few names come with every entry, several times."""
    return mask(name, SECRETS)[0] == name


def _noted(entry: _Begun, work: _Work) -> _Begun:
    """An entry whose texts may all be kept, with a note of that; most have it already."""
    note = work.note(entry.content)
    return entry if note is entry.content else replace(entry, content=note)


def _asked(question: Question) -> list[str | None]:
    """Everything in it that somebody else has written, or None."""
    labels = question.labels
    found = [question.fast.model, question.slow.model, labels.experiment, labels.variant, labels.prompt_class]
    return [*found, *labels.tags, *[message.content for message in question.messages]]


def _temperatures(question: Question) -> list[float | None]:
    """Every number in it that may be none."""
    return [question.fast.temperature, question.slow.temperature]


def _texts(closing: Closing) -> list[str | None]:
    """Everything in it that somebody else has written, or None."""
    found = [closing.reason, *_asked(closing.opening.question)]
    for lane in closing.lanes.values():
        end = lane.end
        found += (lane.model, lane.text, lane.thinking, lane.finish_reason, end.reason, end.message, end.model_version)
    return found


def _numbers(closing: Closing) -> list[float | None]:
    """Every number in it that may be none."""
    agreement = closing.agreement
    found = [closing.latency_ms, *_temperatures(closing.opening.question)]
    found.append(None if agreement is None else agreement.similarity)
    for lane in closing.lanes.values():
        found += (lane.end.ttft_ms, lane.end.cost_usd)
    return found


def _finite(number: float | None) -> float | None:
    """A number, or None for what JSON and sums cannot hold."""
    return number if number is not None and math.isfinite(number) else None
