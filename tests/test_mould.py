"""What the chunks of an answer have in common: a text that is read by it is the one that decoding finds."""

import json
import random
from typing import Any, Final

from cells import rows
from fake_openai import chunk, say

from app.llm.chunks import decode
from app.llm.mould import TRIES, Mould

TEXTS: Final = [
    "a", " word", "é", "漢字", "\U0001f600", "x" * 5000, "{}", "[DONE]", "data: ", "'", ":", ",",
    "", '"', "\\", "\\n", "\n", "\t", "\x00", "\x7f", "\u2028", "\xa0", "\ud800", '","content":"b',
]  # fmt: skip


def encoded(value: dict[str, Any], *, escaped: bool = False) -> bytes:
    """The data of an event."""
    return json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")


def said(data: bytes) -> str | None:
    """The text that decoding finds."""
    choices = decode(data).choices
    return choices[0].delta.content if choices and choices[0].delta else None


def taken(data: bytes) -> Mould:
    """A mould of that chunk, if one could be made."""
    mould = Mould()
    mould.learn(data, decode(data))
    return mould


@rows("escaped", [True, False])
@rows("first", TEXTS)
def test_the_text_is_the_one_that_decoding_finds(first: str, escaped: bool) -> None:
    """Whatever was said first, a text that is read by its mould is the text of the chunk."""
    mould = taken(encoded(say(first), escaped=escaped))
    for text in TEXTS:
        data = encoded(say(text), escaped=escaped)
        assert mould.text_of(data) in (None, "", said(data))


def test_a_plain_text_needs_no_decoding() -> None:
    """A mould of one word fits every other word."""
    mould = taken(encoded(say("The")))
    assert [mould.text_of(encoded(say(text))) for text in TEXTS[:12]] == TEXTS[:12]


@rows(
    "odd",
    [
        '{"id":"a","choices":[{"delta":{"content":"a"}}]}',
        '{"choices":[{"delta":{"content":"a","content":"b"}}]}',
        '{"choices":[{"delta":{"content":"b","content":"a"}}]}',
        '{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"a"}}]}',
        '{"a":"a","choices":[{"delta":{"content":"\\u0061"}}]}',
        '{"choices":[{"delta":{"content":"ab","role":"a"}}]}',
    ],
)
def test_what_only_looks_like_the_text(odd: str) -> None:
    """The same letters elsewhere in a chunk are not taken for its text."""
    mould = taken(odd.encode())
    for text in ("c", "longer"):
        for data in (odd.replace('"a"', f'"{text}"').encode(), odd.replace('"a"', f'"{text}"', 1).encode()):
            assert mould.text_of(data) in (None, said(data))


@rows(
    "more",
    [
        {"finish_reason": "stop"},
        {"delta": {"content": "a", "reasoning_content": "b"}},
        {"delta": {"content": "a", "refusal": "b"}},
        {"message": {"content": "a"}},
    ],
)
def test_a_chunk_that_says_more_makes_none(more: dict[str, Any]) -> None:
    """Of a chunk with more than text in it there is no mould, since its like are to be decoded."""
    told = chunk()
    told["choices"][0] |= {"delta": {"content": "a"}} | more
    for whole in (told, say("a") | {"usage": {"prompt_tokens": 1}}, say("a") | {"error": {"message": "a"}}):
        data = encoded(whole)
        assert taken(data).text_of(data) is None


def test_few_moulds_are_made_where_none_fits() -> None:
    """Where every chunk differs in more than its text, few moulds are tried; one that fits often earns another."""
    made, mould, chance = 0, Mould(), random.Random(1)
    for _ in range(100):
        data = encoded(say("a") | {"obfuscation": chance.random()})
        mould.learn(data, decode(data))
        made += mould.text_of(data) == "a"
    assert made <= 2 * TRIES
