"""The bytes in which OpenAI-compatible servers answer, and what each answer comes to."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from fake_openai import DONE, chunk, event, say, usage

from app.errors import ModelError
from app.events import Usage
from app.llm.model import Finish, Item, Pieces


@dataclass(frozen=True)
class Told:
    """What an answer came to: the answer, the thinking, the usage, the finish reason, why it failed and how."""

    said: str = ""
    thought: str = ""
    usage: Usage | None = None
    finish: str | None = None
    reason: str | None = None
    outcome: str | None = None


def told(items: Iterable[Item], failure: ModelError | None = None) -> Told:
    """Fold what a model yielded."""
    said = {"answer": "", "thinking": ""}
    counted, finish = None, None
    for item in items:
        if isinstance(item, Pieces):
            said[item.kind] += "".join(item.texts)
        elif isinstance(item, Usage):
            counted = item
        elif isinstance(item, Finish):
            finish = item.reason
    reason, outcome = (failure.reason, failure.outcome) if failure else (None, None)
    return Told(said["answer"], said["thinking"], counted, finish, reason, outcome)


def thought(text: str) -> dict[str, object]:
    """A part of a content as Mistral's models that think send it."""
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


STOP = event(chunk(finish="stop"))
HI = event(say("Hel")) + event(say("lo é\n"))
HELLO = "Hello é\n"
EMPTY_FINISH = HI.replace(b'"finish_reason": null', b'"finish_reason": ""')
COUNT = usage(9, 4, cached=3, reasoning=2)
COUNTED = Usage(9, 4, 2, 3, "reported")

# name: the body of an answer with status 200, and what it comes to.
DIALECTS: dict[str, tuple[bytes, Told]] = {
    "openai": (HI + STOP + event(chunk(choices=[], usage=COUNT)) + DONE, Told(HELLO, "", COUNTED, "stop")),
    "no usage": (HI + STOP + DONE, Told(HELLO, finish="stop")),
    "usage null": (event(say("a") | {"usage": None}) + STOP + DONE, Told("a", finish="stop")),
    "usage in every chunk": (
        event(say("a") | {"usage": usage(9, 1)}) + event(say("b") | {"usage": COUNT}) + STOP + DONE,
        Told("ab", "", COUNTED, "stop"),
    ),
    "usage without details": (
        HI + STOP + event(chunk(choices=[], usage={"prompt_tokens": 9})) + DONE,
        Told(HELLO, "", Usage(9, source="reported"), "stop"),
    ),
    "odd usage": (
        HI + STOP + event(chunk(choices=[], usage={"prompt_tokens": "9", "completion_tokens": 4})) + DONE,
        Told(HELLO, "", Usage(None, 4, source="reported"), "stop"),
    ),
    "crlf": ((HI + STOP + DONE).replace(b"\n", b"\r\n"), Told(HELLO, finish="stop")),
    "odd counts": (
        HI + STOP + event(chunk(choices=[], usage=usage(-1, 10**9 + 1, cached=2**70, reasoning=True))) + DONE,
        Told(HELLO, "", Usage(source="reported"), "stop"),
    ),
    "odd counts, read strictly": (
        HI + STOP + event(chunk(choices=[], usage=usage(-1, 10**9 + 1, cached=10**9, reasoning=-9))) + DONE,
        Told(HELLO, "", Usage(cached_tokens=10**9, source="reported"), "stop"),
    ),
    "cr": ((HI + STOP + DONE).replace(b"\n", b"\r"), Told(HELLO, finish="stop")),
    "no space": ((HI + STOP + DONE).replace(b"data: ", b"data:"), Told(HELLO, finish="stop")),
    "byte order mark": (b"\xef\xbb\xbf" + HI + STOP + DONE, Told(HELLO, finish="stop")),
    "comments": (b": ping\n\n" + HI + b":\n: ping\n" + STOP + b"\n\n\n" + DONE, Told(HELLO, finish="stop")),
    "other fields": (b"id: 7\nretry: 9\nevent: x\n" + HI + b"retry: 1\n\n" + STOP + DONE, Told(HELLO, finish="stop")),
    "data in two lines": (
        json.dumps(say("Hi"), indent=1)
        .encode()
        .join([b"data: ", b"\n\n"])
        .replace(b"\n ", b"\ndata: ")
        .replace(b"\n}", b"\ndata: }")
        + STOP
        + DONE,
        Told("Hi", finish="stop"),
    ),
    "reasoning_content": (
        event(chunk({"reasoning_content": "Hm"})) + HI + STOP + DONE,
        Told(HELLO, "Hm", None, "stop"),
    ),
    "reasoning": (
        event(chunk({"reasoning": "Hm", "content": ""})) + HI + STOP + DONE,
        Told(HELLO, "Hm", None, "stop"),
    ),
    "no [DONE]": (HI + STOP, Told(HELLO, finish="stop")),
    "no blank line at the end": (HI + STOP.rstrip(), Told(HELLO, finish="stop")),
    "no end marker": (HI, Told(HELLO)),
    "torn last event": (HI + STOP[:-9], Told(HELLO)),
    "[DONE] alone": (HI + DONE, Told(HELLO)),
    "nothing": (b"", Told()),
    "only [DONE]": (DONE, Told()),
    "finish with the last token": (event(chunk({"content": "a"}, finish="stop")) + DONE, Told("a", finish="stop")),
    "empty finish in every chunk": (EMPTY_FINISH + STOP + DONE, Told(HELLO, finish="stop")),
    "empty finish in every chunk, no end": (EMPTY_FINISH + DONE, Told(HELLO)),
    "null as a word": (event(chunk({"content": "a"}, finish="null")), Told("a")),
    "length": (HI + event(chunk(finish="length")) + DONE, Told(HELLO, finish="length")),
    "max_tokens": (HI + event(chunk(finish="MAX_TOKENS")) + DONE, Told(HELLO, finish="length")),
    "another finish": (HI + event(chunk(finish="eos")) + DONE, Told(HELLO, finish="stop")),
    "abort": (HI + event(chunk(finish="abort")) + DONE, Told(HELLO)),
    "content_filter": (
        HI + event(chunk(finish="content_filter")) + event(chunk(choices=[], usage=COUNT)) + DONE,
        Told(HELLO, "", COUNTED, None, "content_filter", "refused"),
    ),
    "refusal": (event(chunk({"refusal": "I"})) + STOP + DONE, Told(reason="refused", outcome="refused")),
    "null and empty content": (
        event(chunk({"role": "assistant", "content": None})) + event(say("")) + HI + STOP + DONE,
        Told(HELLO, finish="stop"),
    ),
    "no delta": (
        event({"choices": [{"index": 0}]}) + event({"choices": [{"delta": None}]}) + HI + STOP + DONE,
        Told(HELLO, finish="stop"),
    ),
    "choices null or missing": (event({"choices": None}) + event({"id": 1}) + HI + STOP, Told(HELLO, finish="stop")),
    "content in parts": (event(chunk({"content": [{"text": "x"}]})) + HI + STOP + DONE, Told(HELLO, finish="stop")),
    "thinking and text in parts": (
        event(chunk({"content": [thought("Let me ")]}))
        + event(chunk({"content": [thought("see."), {"type": "text", "text": "Hel"}]}))
        + event(chunk({"content": [{"type": "text", "text": "lo"}, {"type": "reference", "reference_ids": [1]}]}))
        + event(say(" é\n"))
        + STOP
        + DONE,
        Told(HELLO, "Let me see.", None, "stop"),
    ),
    "odd parts": (
        event(chunk({"content": [7, "x", [], {"type": "text"}, {"type": "text", "text": 7}, {"type": "thinking"}]}))
        + event(chunk({"content": [{"type": "thinking", "thinking": t} for t in (None, "x", 7, [7], [thought("x")])]}))
        + HI
        + STOP
        + DONE,
        Told(HELLO, finish="stop"),
    ),
    "lone surrogates": (
        event(say("\ud83d")) + event(say("\ude00")) + event(say("\udc00!")) + STOP,
        Told("\ud83d\ude00\udc00!", finish="stop"),
    ),
    "raw separators": (
        event(say("@")).replace(b"@", "\u2028\u2029\x85\x1c".encode()) + STOP + DONE,
        Told("\u2028\u2029\x85\x1c", finish="stop"),
    ),
    "bad utf-8": (event(say("@")).replace(b"@", b"\xff") + STOP + DONE, Told("\ufffd", finish="stop")),
    "NUL": (event(say("@")).replace(b"@", b"\x00") + event(say("\x00")) + STOP, Told("\x00\x00", finish="stop")),
    "error object": (
        HI + event({"error": {"message": "overloaded", "code": 503}}) + HI,
        Told(HELLO, reason="upstream_error", outcome="failed"),
    ),
    "error text": (HI + event({"error": "out of memory"}), Told(HELLO, reason="upstream_error", outcome="failed")),
    "error of old vLLM": (
        HI + event({"object": "error", "message": "bad", "code": 400}),
        Told(HELLO, reason="upstream_error", outcome="failed"),
    ),
    "event: error": (
        HI + b'event: error\ndata: {"detail": "x"}\n\n',
        Told(HELLO, reason="upstream_error", outcome="failed"),
    ),
    "error in a field of its own": (
        HI + b'error: {"code":500,"message":"no slot","type":"server_error"}\n\n',
        Told(HELLO, reason="upstream_error", outcome="failed"),
    ),
    "error that is no event": (
        b'{"error": {"message": "no money", "code": 402}}\n',
        Told(reason="upstream_error", outcome="failed"),
    ),
    "error that is no event, midway": (
        HI + b'{"error": {"message": "no money", "code": 402}}',
        Told(HELLO, reason="upstream_error", outcome="failed"),
    ),
    "finish_reason error": (
        HI + event(chunk(finish="error")) + DONE,
        Told(HELLO, reason="upstream_error", outcome="failed"),
    ),
    "error null": (HI + event(say("!") | {"error": None}) + STOP, Told(HELLO + "!", finish="stop")),
    "error after the end": (HI + STOP + event({"error": "late"}), Told(HELLO, finish="stop")),
    "not JSON": (HI + b"data: hello\n\n", Told(HELLO, reason="upstream_malformed", outcome="failed")),
    "not an object": (HI + b"data: [1]\n\n", Told(HELLO, reason="upstream_malformed", outcome="failed")),
    "two objects in an event": (
        HI + b"data: {},{}\n\n" + STOP,
        Told(HELLO, reason="upstream_malformed", outcome="failed"),
    ),
    "two halves of an object": (
        HI + b'data: {"id":[1\n\n' + b"data: 2]}\n\n" + STOP,
        Told(HELLO, reason="upstream_malformed", outcome="failed"),
    ),
    "too deep": (
        HI + event("@").replace(b'"@"', b"[" * 99999),
        Told(HELLO, reason="upstream_malformed", outcome="failed"),
    ),
}
