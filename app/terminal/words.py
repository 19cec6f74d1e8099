"""Numbers and verdicts in plain words. What is not known is said to be unknown; it is never 0."""

import re
from datetime import datetime, timedelta
from typing import Any, Final

from app.errors import MalformedRequest

CHANGES: Final = {
    "confirmed": "Both models give the same answer, each on its own.",
    "revised": "The slow model came to a different answer; its answer stands.",
    "undetermined": "Whether both say the same could not be decided; the slow model's answer stands.",
    "unopposed": "Only the slow model completed an answer; there was nothing to compare it with.",
    "unverified": "The fast answer stands alone: the slow model did not get to check it.",
}
ORIGINS: Final = {
    "cache": "From the cache: this is how both models answered the same question before.",
    "attached": "Joined a run that was already answering this question.",
}
LEAST_USD: Final = 0.000001  # what six digits can show
_AGO: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def safe(text: str) -> str:
    """The text without what would steer the terminal: a model's words move no cursor and set no title."""
    return _CONTROL.sub("", text)


def seconds(milliseconds: float | None) -> str:
    """Milliseconds as people read them."""
    return "unknown" if milliseconds is None else f"{milliseconds / 1000:.2f} s"


def dollars(cost_usd: float | None) -> str:
    """A cost; unknown is not 0."""
    if cost_usd is None:
        return "unknown"
    if 0 < cost_usd < LEAST_USD / 2:
        return f"below ${LEAST_USD:.6f}"
    return f"${cost_usd:.6f}".rstrip("0").rstrip(".")


def tokens(usage: dict[str, Any]) -> str:
    """Input and output tokens, and where the numbers come from unless the model reported them."""
    counts = [usage.get(key) for key in ("input_tokens", "output_tokens")]
    if usage.get("source", "unknown") == "unknown":
        return "unknown"
    origin = " (estimated)" if usage["source"] == "estimated" else ""
    return "{} in, {} out{}".format(*("unknown" if count is None else count for count in counts), origin)


def percent(share: float | None) -> str:
    """A share from 0 to 1; of nothing it is unknown."""
    return "unknown" if share is None else f"{share:.1%}"


def interval(told: dict[str, Any]) -> str:
    """A share in percent with its 95 % interval, as the server's statistics give it."""
    if told["share"] is None:
        return "unknown"
    return f"{told['share']:.0%} ({told['low'] * 100:.0f}-{told['high'] * 100:.0f})"


def since(text: str | None, now: datetime) -> str | None:
    """The moment in ISO 8601: `90m`, `24h` and `7d` count back from now; what is no moment is left to the server."""
    if text is None:
        return None
    found = _AGO.fullmatch(text)
    try:
        if found is not None:
            return (now - timedelta(**{_UNITS[found[2]]: float(found[1])})).isoformat()
        moment = datetime.fromisoformat(text)
    except OverflowError:
        raise MalformedRequest(f"{text}: is further back than time goes") from None
    except ValueError:
        return text
    return text if moment.tzinfo else _here(moment)


def _here(moment: datetime) -> str:
    """Without a zone it is one of this machine's, as what the commands print is."""
    try:
        return moment.astimezone().isoformat()
    except (OverflowError, ValueError):
        return moment.isoformat()  # at the ends of time, where zones do not matter
