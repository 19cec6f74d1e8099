"""Fold the messages of one answer of Vertex AI into items. They are plain protobuf messages, read as they are."""

from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from app.errors import ModelError
from app.events import Usage
from app.llm.model import Finish, Item, Pieces
from app.llm.vertex_failures import stopped, withheld

_STOP: Final = 1
_MAX_TOKENS: Final = 2
_WITHHELD: Final = {
    3: "SAFETY",
    4: "RECITATION",
    6: "BLOCKLIST",
    7: "PROHIBITED_CONTENT",
    8: "SPII",
    10: "MODEL_ARMOR",
}
_STOPPED: Final = {5: "OTHER", 9: "MALFORMED_FUNCTION_CALL"}
_BLOCKED: Final = {1: "SAFETY", 3: "BLOCKLIST", 4: "PROHIBITED_CONTENT", 5: "MODEL_ARMOR", 6: "JAILBREAK"}


class Reading:
    """What one answer has said. What came before a failure is handed out before it is raised.

    finished: the model's own end marker came. failure: to be raised once everything was handed out.
    """

    __slots__ = ("_told", "failure", "finished")

    def __init__(self) -> None:
        self.finished = False
        self.failure: ModelError | None = None
        self._told: Usage | None = None

    def take(self, message: Any) -> list[Item]:  # noqa: ANN401  # a protobuf message has no static type
        """What a GenerateContentResponse says: pieces of a kind together, the usage if it is new, the finish."""
        items: list[Item] = []
        reason = 0
        for candidate in message.candidates[:1]:  # we ask for one only
            reason = candidate.finish_reason
            parts = candidate.content.parts
            for thought, told in groupby((part for part in parts if part.text), attrgetter("thought")):
                items.append(Pieces("thinking" if thought else "answer", [part.text for part in told]))
        if message.HasField("usage_metadata"):
            self._count(message.usage_metadata, items)
        if reason:
            self._end(reason, message.model_version, items)
        elif message.HasField("prompt_feedback") and message.prompt_feedback.block_reason:
            why = message.prompt_feedback.block_reason
            self.failure = withheld(f"the prompt was blocked: {_BLOCKED.get(why, 'OTHER')}")
        return items

    def _count(self, counted: Any, items: list[Item]) -> None:  # noqa: ANN401  # a protobuf message
        """The usage, unless it is the same as before or does not count the answer yet.

        The service counts thoughts beside the answer, we count them into it.
        """
        answer, thoughts = counted.candidates_token_count, counted.thoughts_token_count
        usage = Usage(
            input_tokens=counted.prompt_token_count or None,
            output_tokens=answer + thoughts,
            thinking_tokens=thoughts,
            cached_tokens=counted.cached_content_token_count,
            source="reported",
        )
        if (answer or thoughts or counted.total_token_count) and usage != self._told:
            self._told = usage
            items.append(usage)

    def _end(self, reason: int, version: str, items: list[Item]) -> None:
        """Note how the model ended; nothing that comes later changes it."""
        if self.finished or self.failure is not None:
            return
        if reason in (_STOP, _MAX_TOKENS):
            self.finished = True
            items.append(Finish("stop" if reason == _STOP else "length", version or None))
        elif reason in _WITHHELD:
            self.failure = withheld(_WITHHELD[reason])
        else:
            self.failure = stopped(_STOPPED.get(reason, f"reason {reason}"))
