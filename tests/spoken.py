"""Answers of the fake of OpenAI with an exact text, in pieces that come one after another."""

from fake_openai import DONE, HANG, Reply, Step, chunk, event, say, usage


def spoken(
    text: str, *, first: float = 0.0, gap: float = 0.0, size: int = 8, then: Step | None = None, finish: str = "stop"
) -> Reply:
    """A reply that says the text, size characters at a time; then: it is left unfinished like this."""
    steps: list[Step] = [first]
    for start in range(0, len(text), size):
        steps += [event(say(text[start : start + size])), gap]
    if then is not None:
        return Reply((*steps, then))
    counted = event(chunk(usage=usage(9, max(1, len(text) // 4))) | {"choices": []})
    return Reply((*steps, event(chunk(finish=finish)), counted, DONE))


def silent() -> Reply:
    """A reply that never begins."""
    return Reply((HANG,))
