"""What the chunks of one answer have in common: most differ in their text alone, and need not all be decoded.

A mould is what stands before and behind the text of a chunk that was decoded. It serves only after it was tried: filled
with another text it must decode to the same chunk with that text. Whatever reads JSON and comes to this place by the
same bytes then reads any text that neither ends there nor has an escape or a control character in it; others are
decoded.
"""

from typing import Final

from app.llm.chunks import Choice, Chunk, Said, strictly

TRIES: Final = 3  # moulds an answer may make; each use earns a part of another one
WORTH: Final = 0.2
_OTHER: Final = "x"  # what makes a text another one


class Mould:
    """The last one that could be made; one per answer."""

    __slots__ = ("_after", "_before", "_begin", "_end", "_tries")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._begin = self._end = 0  # of the text, the latter counted from behind
        self._tries: float = TRIES

    def text_of(self, data: bytes) -> str | None:
        """The text of a chunk that says nothing else; empty, or None, when it is to be decoded."""
        said = data[self._begin : self._end]
        if self._before + said + self._after != data:
            return None
        try:
            text = said.decode()
        except UnicodeDecodeError:
            return None
        self._tries += WORTH
        return text if text.isprintable() and '"' not in text and "\\" not in text else None

    def learn(self, data: bytes, chunk: Chunk) -> None:
        """Make one of a chunk that was decoded, if there is nothing but text in it."""
        said = chunk.choices[0].delta if chunk.choices else None
        if self._tries < 1 or said is None or not said.content or chunk != _saying(said.content, chunk):
            return
        self._tries -= 1
        text, other = said.content.encode("utf-8", "surrogatepass"), said.content + _OTHER
        at = data.find(b'"%b"' % text) + 1
        before, after = data[:at], data[at + len(text) :]
        try:
            if at > 0 and strictly(before + other.encode() + after) == _saying(other, chunk):
                self._before, self._after, self._begin, self._end = before, after, at, -len(after)
        except (ValueError, RecursionError):  # it was odd, and read leniently
            return


def _saying(text: str, chunk: Chunk) -> Chunk:
    """A chunk of the same model that says that much and no more."""
    return Chunk(choices=[Choice(delta=Said(content=text))], model=chunk.model)
