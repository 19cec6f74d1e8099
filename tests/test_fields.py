"""The headers of a request, found without a search, as the framework has them."""

import pytest
from starlette.datastructures import Headers

from app.http.fields import Fields

RAW = [(b"host", b"a.example"), (b"x-api-key", b"first"), (b"accept", b"*/*"), (b"x-api-key", b"second \xe9")]


@pytest.mark.parametrize("raw", [RAW, RAW[:3]], ids=["one twice", "each once"])
@pytest.mark.parametrize("name", ["host", "Host", "x-api-key", "X-API-Key", "cookie"])
def test_they_are_the_framework_s_own(name: str, raw: list[tuple[bytes, bytes]]) -> None:
    """Whatever is asked for, present or not, in any case, is what the framework's own headers say."""
    ours, theirs = Fields({"headers": list(raw)}), Headers(raw=list(raw))
    assert (ours.get(name), ours.get(name, "none")) == (theirs.get(name), theirs.get(name, "none"))
    assert ours.getlist(name) == theirs.getlist(name)
    assert (name in ours) == (name in theirs)
    assert ours.items() == theirs.items()


def test_what_is_not_there_is_missed() -> None:
    """The first of several is found by its name, and a name that is not there is an error, as in any mapping."""
    ours = Fields({"headers": list(RAW)})
    assert ours["x-api-key"] == "first"
    with pytest.raises(KeyError):
        _ = ours["cookie"]
