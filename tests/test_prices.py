"""What lanes cost: list prices, an operator's own, and closings filled in afterwards."""

import importlib
import json
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cells import rows
from entries import EPOCH, lane, opening
from genai_prices import Usage as ListUsage
from genai_prices import __version__, calc_price

from app.errors import StartupError
from app.events import LaneEnd, Usage
from app.record.entry import Closing, Interruption, LaneRecord
from app.record.list_prices import lookup
from app.record.prices import MAX_REMEMBERED, PriceBook, Tariff, read_overrides

OPENAI = "https://api.openai.com/v1"
FREE = Tariff(0.0, 0.0, None, "override 00000000")
DEAR = Tariff(1000.0, 4000.0, 100.0, "test")

# Name, base URL, and what genai-prices calls the two.
MODELS = [
    ("openai:gpt-5-mini", OPENAI, "gpt-5-mini", "openai"),
    ("openai:gpt-5", OPENAI, "gpt-5", "openai"),
    ("openai:gpt-5-nano", OPENAI, "gpt-5-nano", "openai"),
    ("openai:gpt-4o", OPENAI, "gpt-4o", "openai"),
    ("openai:gpt-4o-mini-2024-07-18", OPENAI, "gpt-4o-mini", "openai"),
    ("openai:gpt-4.1-nano", OPENAI, "gpt-4.1-nano", "openai"),
    ("openai:o3", OPENAI, "o3", "openai"),
    (
        "openai:gemini-2.5-flash",
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "gemini-2.5-flash",
        "google",
    ),
    ("openai:llama-3.1-8b-instant", "https://api.groq.com/openai/v1", "llama-3.1-8b-instant", "groq"),
    ("openai:mistral-small-latest", "https://api.mistral.ai/v1", "mistral-small-latest", "mistral"),
    ("openai:claude-sonnet-4-0", "https://api.anthropic.com/v1", "claude-sonnet-4-0", "anthropic"),
    ("vertex:gemini-2.5-flash", None, "gemini-2.5-flash", "google"),
    ("vertex:gemini-2.5-flash-lite", None, "gemini-2.5-flash-lite", "google"),
    ("vertex:gemini-2.5-pro", None, "gemini-2.5-pro", "google"),
]
USAGES = [(1, 1, 0), (7, 3, 5), (1234, 567, 0), (99_999, 4321, 33_333), (0, 0, 0), (100_000, 100_000, 100_000)]

NO_LIST_PRICE = [
    ("local:smollm2", None),
    ("local:gpt-4o", OPENAI),
    ("scripted:fast", OPENAI),
    ("openai:gpt-4o", None),
    ("openai:gpt-4o", "http://127.0.0.1:8000/v1"),
    ("openai:gpt-4o", "https://llm.example.com/v1"),
    ("openai:gpt-4o", "https://api.openai.com.example.com/v1"),
    ("openai:gpt-4o", "https://api.openai.com:8443/v1"),
    ("openai:no-such-model", OPENAI),
    ("openai:", OPENAI),
    ("vertex:no-such-model", None),
    ("nothing", OPENAI),
    ("openai:deepseek-chat", "https://api.deepseek.com"),  # its price depends on the hour
]


def book(*found: tuple[str, Tariff], overrides: dict[str, Tariff] | None = None, **options: Any) -> PriceBook:
    """A book over a short list of prices, whatever the base URL."""
    return PriceBook(overrides or {}, lambda: lambda model, _: dict(found).get(model), **options)


def listed() -> PriceBook:
    """A book over the real list."""
    return PriceBook({}, lambda: lookup, {"fast": OPENAI, "slow": OPENAI})


def priced(name: str = "openai:a", usage: Usage = Usage(10, 2, source="reported"), **end: Any) -> LaneRecord:  # noqa: B008  # frozen
    """A fast lane of that model without a cost."""
    values = {"cost_usd": None, "usage": usage, **end}
    return msgspec.structs.replace(lane("fast", **values), model=name)


def closing(fast: LaneRecord, slow: LaneRecord, **changes: Any) -> Closing:
    """A closing whose cost is not known."""
    values: dict[str, Any] = {
        "opening": opening(),
        "status": "completed",
        "reason": None,
        "final_lane": "slow",
        "verified": True,
        "change": None,
        "agreement": None,
        "latency_ms": 1.0,
        "usage": Usage(),
        "cost_nano": None,
        "lanes": {"fast": fast, "slow": slow},
        "log": b"",
        "at_ms": (),
    }
    return Closing(**{**values, **changes})


def prices_file(tmp_path: Path, content: Any) -> Path:
    """A file of overrides, from text or from values."""
    path = tmp_path / "prices.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@rows("usage", USAGES)
@rows(("model", "base_url", "name", "provider"), MODELS)
def test_a_list_price_is_exact(
    model: str, base_url: str | None, name: str, provider: str, usage: tuple[int, int, int]
) -> None:
    """A lane costs what genai-prices says, to the nano-dollar."""
    given, out, cached = usage
    counted = ListUsage(input_tokens=given, output_tokens=out, cache_read_tokens=cached)
    theirs = calc_price(counted, name, provider_id=provider, genai_request_timestamp=datetime.now(UTC)).total_price
    tariff = lookup(model, base_url)
    assert tariff is not None
    assert tariff.version == f"genai-prices {__version__}"
    nano = (theirs * 1_000_000_000).quantize(Decimal(1), ROUND_HALF_EVEN)
    assert tariff.cost(Usage(given, out, None, cached, "reported")) == int(nano)


@rows(("model", "base_url"), NO_LIST_PRICE)
def test_a_model_without_a_list_price_is_unknown(model: str, base_url: str | None) -> None:
    """No price is guessed from a name: not for local models, unknown hosts, or prices that are no single number."""
    assert lookup(model, base_url) is None


def test_a_price_in_tiers_is_taken_at_its_base() -> None:
    """A long prompt's higher tier is not applied."""
    tariff = lookup("vertex:gemini-2.5-pro", None)
    assert tariff is not None
    assert (tariff.input_nano, tariff.output_nano) == (1250.0, 10_000.0)


@pytest.mark.parametrize(
    "name", ["openai:gpt-5-mini", "deliberate:5@openai:gpt-5-mini", "deliberate:3,temperature=1@openai:gpt-5-mini"]
)
def test_a_wrapped_model_costs_what_the_model_costs(name: str) -> None:
    """A wrapper has the price of what it wraps."""
    assert listed().resolve(name, OPENAI) == lookup("openai:gpt-5-mini", OPENAI)


def test_a_version_after_an_at_is_no_wrapper() -> None:
    """`vertex:claude@20250514` is one model's name."""
    asked: list[str] = []
    PriceBook({}, lambda: lambda model, _: asked.append(model)).resolve("vertex:claude-sonnet-4@20250514")
    assert asked == ["vertex:claude-sonnet-4@20250514"]


def test_an_override_comes_before_the_list() -> None:
    """An operator's price holds for a model, for it wrapped, and behind any base URL, and is known at once."""
    prices = book(("openai:a", DEAR), overrides={"openai:a": FREE})
    assert prices.known("openai:a") == prices.resolve("deliberate:5@openai:a", "http://127.0.0.1") == FREE


def test_an_override_of_a_wrapped_name_comes_first() -> None:
    """A price for the wrapped name itself wins over that of the model inside."""
    prices = book(overrides={"openai:a": FREE, "deliberate:5@openai:a": DEAR})
    assert prices.known("deliberate:5@openai:a") == DEAR


def test_known_never_looks_anything_up() -> None:
    """A tariff is known only after somebody resolved it, for that base URL."""
    prices = book(("openai:a", DEAR))
    assert prices.known("openai:a", OPENAI) is None
    assert prices.resolve("openai:a", OPENAI) == DEAR
    assert prices.known("openai:a", OPENAI) == prices.known("deliberate:5@openai:a", OPENAI) == DEAR
    assert prices.known("openai:a", "http://elsewhere") is None


@pytest.mark.parametrize("model", ["local:smollm2", "scripted:fast", "deliberate:5@local:smollm2"])
def test_the_list_is_not_loaded_for_what_no_list_has(model: str) -> None:
    """A model on this machine has no list price, and finding that out loads nothing."""
    loads: list[int] = []
    prices = PriceBook({}, lambda: loads.append(1) or (lambda *_: None))  # type: ignore[func-returns-value]
    assert prices.resolve(model, OPENAI) is None
    assert loads == []


def test_a_model_is_looked_up_once_even_when_it_has_no_price() -> None:
    """Many threads that want the same price cause one load and one lookup, of hits and of misses."""
    asked: list[str] = []
    loads: list[int] = []

    def load() -> Any:
        loads.append(1)
        return lambda model, _: asked.append(model)

    prices = PriceBook({}, load)
    threads = [threading.Thread(target=prices.resolve, args=("openai:none", OPENAI)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (asked, loads) == (["openai:none"], [1])


def test_what_is_remembered_is_bounded() -> None:
    """Too many models take each other's place: the first ones, which settings name, are known for ever."""
    prices = PriceBook({}, lambda: lambda _model, _url: DEAR)
    for number in range(MAX_REMEMBERED + 1):
        prices.resolve(f"openai:{number}", OPENAI)
    assert prices.known(f"openai:{MAX_REMEMBERED - 1}", OPENAI) is None
    assert prices.known("openai:0", OPENAI) == prices.known(f"openai:{MAX_REMEMBERED}", OPENAI) == DEAR


def test_a_closing_gets_the_cost_of_its_lanes_and_their_sum() -> None:
    """Lanes without a cost get a tariff and a cost; the closing gets the sum in nano-dollars."""
    filled: Any = book(("openai:a", DEAR)).fill(closing(priced(), priced("deliberate:5@openai:a")))
    assert [record.end.cost_usd for record in filled.lanes.values()] == [18e-6, 18e-6]
    assert {record.tariff for record in filled.lanes.values()} == {DEAR}
    assert filled.cost_nano == 36_000


def test_a_lane_is_priced_at_its_own_base_url() -> None:
    """The fast lane's server is not the slow lane's."""
    urls = {"fast": "http://127.0.0.1:1", "slow": OPENAI}
    prices = PriceBook({}, lambda: lambda _, url: DEAR if url == OPENAI else None, urls)  # type: ignore[arg-type]
    filled: Any = prices.fill(closing(priced(), priced()))
    assert [record.tariff for record in filled.lanes.values()] == [None, DEAR]
    assert filled.cost_nano is None


def test_a_cost_that_is_there_stays() -> None:
    """A lane's own cost and a closing's own sum are not touched."""
    done = priced(cost_usd=0.5)
    filled: Any = book(("openai:a", DEAR)).fill(closing(done, priced(), cost_nano=7))
    assert (filled.lanes["fast"], filled.cost_nano) == (done, 7)


def test_the_tariff_a_lane_came_with_is_used() -> None:
    """A lane that knows its tariff but not its cost is priced by it."""
    own = msgspec.structs.replace(priced(), tariff=Tariff(1.0, 1.0, None, "mine"))
    filled: Any = book(("openai:a", DEAR)).fill(closing(own, own))
    assert filled.cost_nano == 24


@pytest.mark.parametrize(
    "lost",
    [
        priced(usage=Usage()),
        priced(usage=Usage(10, None)),
        priced("local:smollm2"),
    ],
)
def test_a_sum_with_an_unknown_part_is_unknown(lost: LaneRecord) -> None:
    """While a lane that used tokens has no cost, the run has none; never 0."""
    filled: Any = book(("openai:a", DEAR)).fill(closing(lost, priced()))
    assert filled.lanes["fast"].end.cost_usd is None
    assert filled.cost_nano is None


def test_a_lane_that_used_nothing_does_not_hide_the_sum() -> None:
    """A lane that never reached its model leaves the other's cost as the run's."""
    unused = priced("local:smollm2", Usage(), ttft_ms=None, outcome="failed", reason="connect_failed")
    unused = msgspec.structs.replace(unused, text="", thinking="")
    filled: Any = book(("openai:a", DEAR)).fill(closing(unused, priced()))
    assert filled.cost_nano == 18_000
    nothing: Any = book().fill(closing(unused, unused))
    assert nothing.cost_nano is None


def test_a_replayed_answer_is_not_priced() -> None:
    """A run from the cache spent nothing, so nothing is filled in."""
    replayed = closing(priced(), priced(), opening=opening(source="cache"))
    assert book(("openai:a", DEAR)).fill(replayed) == replayed


def test_other_entries_are_left_alone() -> None:
    """An opening and an interruption have no costs."""
    begun = opening()
    interrupted = Interruption(begun, EPOCH)
    assert book().fill(begun) is begun
    assert book().fill(interrupted) is interrupted


def test_what_was_looked_up_in_vain_need_not_be_asked_for_again() -> None:
    """A model without a price is looked up once; who fills a closing in knows before that nothing would be added."""
    prices = book(("openai:a", DEAR))
    listed, unlisted = closing(priced(), priced("openai:none")), closing(priced("openai:none"), priced("local:x"))
    assert [prices.may_fill(entry) for entry in (opening(), listed, unlisted)] == [False, True, True]
    assert prices.fill(unlisted) == unlisted
    assert [prices.may_fill(entry) for entry in (listed, unlisted)] == [True, False]
    filled: Any = prices.fill(listed)
    assert not prices.may_fill(filled)
    assert prices.may_fill(msgspec.structs.replace(filled, lanes={"fast": filled.lanes["fast"]}))


def test_filling_twice_changes_nothing() -> None:
    """A filled closing is as it should be."""
    prices = book(("openai:a", DEAR))
    once = prices.fill(closing(priced(), priced("local:x")))
    assert prices.fill(once) == once


def test_cached_tokens_have_a_price_of_their_own() -> None:
    """Cached input is charged at its rate, at the input's rate when it has none, and never beyond the input."""
    assert DEAR.cost(Usage(10, 0, None, 4)) == 6 * 1000 + 4 * 100
    assert DEAR.cost(Usage(10, 0, None, 40)) == 10 * 100
    assert msgspec.structs.replace(DEAR, cached_nano=None).cost(Usage(10, 0, None, 4)) == 10_000


def test_overrides_are_read(tmp_path: Path) -> None:
    """A file gives dollars a million tokens; the version carries the beginning of its hash."""
    path = prices_file(
        tmp_path,
        {
            "local:smollm2": {"input_usd_per_million": 0, "output_usd_per_million": 0, "cached_usd_per_million": None},
            "openai:my-llama": {
                "input_usd_per_million": 0.25,
                "output_usd_per_million": 2,
                "cached_usd_per_million": 0.1,
            },
        },
    )
    read = read_overrides(path)
    version = read["local:smollm2"].version
    assert version.startswith("override ")
    assert len(version) == len("override ") + 8
    assert read == {
        "local:smollm2": Tariff(0.0, 0.0, None, version),
        "openai:my-llama": Tariff(250.0, 2000.0, 100.0, version),
    }


ONE = '"input_usd_per_million": 1, "output_usd_per_million": 1'


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{\n  broken", "line 2, column 3"),
        ("[]", "must be one JSON object"),
        ('{"gpt-4o": {}}', "'gpt-4o' is not a model"),
        ('{"openai:x": 3}', "openai:x: Expected `object`, got `int`"),
        (
            '{"openai:x": {"input_usd_per_million": 1}}',
            "openai:x: Object missing required field `output_usd_per_million`",
        ),
        (f'{{"openai:x": {{{ONE}, "currency": "EUR"}}}}', "openai:x: Object contains unknown field `currency`"),
        ('{"openai:x": {"input_usd_per_million": "1", "output_usd_per_million": 1}}', "`input_usd_per_million`"),
        ('{"openai:x": {"input_usd_per_million": true, "output_usd_per_million": 1}}', "`input_usd_per_million`"),
        ('{"openai:x": {"input_usd_per_million": -1, "output_usd_per_million": 1}}', "`input_usd_per_million`"),
        ('{"openai:x": {"input_usd_per_million": 1e9, "output_usd_per_million": 1}}', "`input_usd_per_million`"),
        ('{"openai:x": {"input_usd_per_million": NaN, "output_usd_per_million": 1}}', "NaN is not a price"),
        (f'{{"openai:x": {{{ONE}}}, "openai:x": {{{ONE}}}}}', "'openai:x' is there twice"),
        ("[" * 100_000, "is not valid"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, content: str, says: str) -> None:
    """An error names PRICES_FILE and the line or the field."""
    with pytest.raises(StartupError) as error:
        read_overrides(prices_file(tmp_path, content))
    assert error.value.message.startswith("PRICES_FILE=")
    assert says in error.value.message


def test_a_missing_or_unreadable_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there or is no UTF-8 names PRICES_FILE too."""
    with pytest.raises(StartupError, match=r"PRICES_FILE=.* cannot be read"):
        read_overrides(tmp_path / "none.json")
    (tmp_path / "bad.json").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(StartupError, match=r"PRICES_FILE=.* is not valid"):
        read_overrides(tmp_path / "bad.json")


def test_looking_up_a_price_touches_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is the installed one: no socket is made and no thread is started."""
    monkeypatch.setattr(socket, "socket", None)
    before = threading.active_count()
    assert PriceBook({}, lambda: importlib.import_module("app.record.list_prices").lookup).resolve(
        "vertex:gemini-2.5-pro"
    )
    assert threading.active_count() == before


def test_the_heavy_list_is_not_imported_with_the_record() -> None:
    """Importing entries and prices does not import genai-prices."""
    code = "import sys, app.record.entry, app.record.prices; sys.exit('genai_prices' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_lanes_end_stays_what_it_was_but_for_the_cost() -> None:
    """Filling changes a lane's cost and tariff and nothing else."""
    before = priced()
    filled: Any = book(("openai:a", DEAR)).fill(closing(before, before))
    after: LaneEnd = filled.lanes["fast"].end
    assert msgspec.structs.replace(after, cost_usd=None) == before.end
