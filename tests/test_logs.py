"""Log lines: as machines and people read them, with the ids they are about, and never with what was being handled."""

import ast
import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cells import rows

from app import logs, trail
from app.errors import TandemError
from app.trail import Trace, span_of

ROOT = Path(__file__).parents[1]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
RUN_ID = "019a0000-0000-7000-8000-000000000001"
SECRET = "what was asked"


def line(formatter: logging.Formatter, *args: Any, **kwargs: Any) -> str:
    """What one call leaves."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    logger = logging.Logger(kwargs.pop("name", "app.test"))  # noqa: LOG001  # one that nobody else hears
    logger.addHandler(handler)
    logger.error(*args, **kwargs)
    return out.getvalue().removesuffix("\n")


def told(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """The same, read as JSON."""
    found: dict[str, Any] = json.loads(line(kwargs.pop("formatter", None) or logs.Json(), *args, **kwargs))
    return found


@pytest.fixture(autouse=True)
def _no_trail() -> Iterator[None]:
    """Every test begins outside of any request."""
    token = trail._HERE.set(trail.Trail())
    yield
    trail._HERE.reset(token)


def test_a_line_has_what_cloud_logging_reads() -> None:
    """Severity, time in UTC, message, and the fields that were added."""
    found = told("took %d ms", 5, extra={"tags": ["a"], "count": 3})
    assert (found["severity"], found["message"], found["logger"], found["tags"], found["count"]) == (
        "ERROR", "took 5 ms", "app.test", ["a"], 3,
    )  # fmt: skip
    assert found["time"].endswith("+00:00")
    assert "logging.googleapis.com/labels" not in found


async def test_every_line_has_the_ids_of_the_work_at_hand() -> None:
    """Whatever writes it in the course of a request and its run; ids that the line names itself come first."""
    trail.begin("mine", None)
    trail.about(RUN_ID)
    found = await asyncio.create_task(_told_later())
    assert (found["request_id"], found["run_id"]) == ("mine", RUN_ID)
    assert found["logging.googleapis.com/labels"] == {"request_id": "mine", "run_id": RUN_ID}
    assert told("other", extra={"run_id": "another"})["run_id"] == "another"
    assert line(logs.Text(), "hello").endswith(f"ERROR   hello request_id=mine run_id={RUN_ID}")


async def _told_later() -> dict[str, Any]:
    """A line of a task that was started meanwhile."""
    return told("hello")


@rows(
    ("sent", "traced", "expected"),
    [
        (True, False, (TRACE, PARENT, True)),
        (True, True, (TRACE, span_of(RUN_ID), True)),
        (False, True, (RUN_ID.replace("-", ""), span_of(RUN_ID), None)),
        (False, False, (None, None, None)),
    ],
)
def test_a_line_is_found_by_its_trace(sent: bool, traced: bool, expected: tuple[Any, ...]) -> None:
    """It has the trace that was sent, else the run's own, and the span of the run, where runs have one."""
    trail.begin("mine", Trace(TRACE, PARENT, True) if sent else None)
    trail.about(RUN_ID)
    found = told("hello", formatter=logs.Json(traced=traced))
    names = [f"logging.googleapis.com/{name}" for name in ("trace", "spanId", "trace_sampled")]
    assert tuple(found.get(name) for name in names) == expected
    if sent:
        named = told("hello", formatter=logs.Json(project="p"))
        assert named["logging.googleapis.com/trace"] == f"projects/p/traces/{TRACE}"


def test_a_request_is_shown_as_one() -> None:
    """The fields of a request's line make the one that Cloud Logging shows; the query is not among them."""
    extra = {"method": "GET", "path": "/v1/reason", "http_status": 200, "duration_ms": 12.5, "output_bytes": 7}
    assert told("live 200 ok", extra=extra)["httpRequest"] == {
        "requestMethod": "GET", "requestUrl": "/v1/reason", "status": 200, "responseSize": "7", "latency": "0.012500s",
    }  # fmt: skip


def raised(error: BaseException) -> Any:
    """The error as it is once it was raised, for exc_info."""
    try:
        raise error  # noqa: TRY301  # that is all that is wanted
    except BaseException:  # noqa: BLE001  # whatever it is
        return sys.exc_info()


def test_an_exception_tells_where_but_not_what() -> None:
    """Of an exception that is not ours the words may quote a question: its kind and its places are told."""
    for formatter in (logs.Json(), logs.Text()):
        text = line(formatter, "failed", exc_info=raised(ValueError(SECRET)))
        assert "ValueError" in text
        assert "test_logs.py:" in text
        assert SECRET not in text
    assert SECRET in line(logs.Json(words=True), "failed", exc_info=raised(ValueError(SECRET)))


def test_an_exception_of_ours_speaks() -> None:
    """What we say ourselves is fit for the log, as is what the system says of a file or a connection."""
    error = TandemError("the disk is full")
    error.__cause__ = OSError(28, "No space left on device", "/srv/jane/questions")
    found = told("failed", exc_info=raised(error))["exception"]
    assert "TandemError: the disk is full" in found
    assert "caused by OSError: No space left on device" in found
    assert "jane" not in found


def test_an_exception_is_bounded() -> None:
    """However deep, long, or joined to itself, it takes a few kilobytes; of a group the kinds are told."""

    def sink(depth: int) -> None:
        """Fail deep down."""
        if depth == 0:
            raise TandemError("x" * 100_000)
        sink(depth - 1)

    with pytest.raises(TandemError) as deep:
        sink(200)
    error = deep.value
    error.__cause__ = error
    assert len(told("failed", exc_info=(type(error), error, error.__traceback__))["exception"]) < 9000
    group = ExceptionGroup(SECRET, [ValueError(SECRET), OSError(SECRET)])
    found = told("failed", exc_info=raised(group))["exception"]
    assert "with ValueError" in found
    assert SECRET not in found


class Mine:
    """Something that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError(SECRET)

    __repr__ = __str__


@pytest.mark.parametrize(
    ("args", "extra"),
    [
        (("%d tokens", SECRET), {}),
        (("%s and %s", SECRET), {}),
        (("no place", SECRET), {}),
        (("%s", Mine()), {}),
        ((Mine(),), {}),
        (("%(a)s", {"b": SECRET}), {}),
        (("hello",), {"mine": Mine()}),
        (("hello",), {"many": {Mine(): 1}}),
        (("hello",), {"large": 1 << 80, "odd": float("nan"), "raw": b"\xff", "half": "\ud800"}),
        (("half \ud800",), {"\ud800": 1}),
        (("hello",), {"http_status": 200, "duration_ms": "soon"}),
        (("hello",), {"run_id": Mine(), "request_id": 7}),
    ],
)
def test_a_bad_call_never_raises(args: Any, extra: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever it is given, one whole line comes out, and the values that did not fit are not shown instead."""
    for formatter in (logs.Json(), logs.Text()):
        text = line(formatter, *args, extra=extra)
        assert "\n" not in text
        assert SECRET not in text
        if isinstance(formatter, logs.Json):
            assert json.loads(text)["severity"] == "ERROR"
    assert capsys.readouterr().err == ""


def test_a_line_is_one_line() -> None:
    """Nobody forges a second line by what stands in the first, and none is longer than a bound."""
    assert line(logs.Text(), "first\n12:00:00 ERROR second").count("\n") == 0
    assert json.loads(line(logs.Json(), "first\nsecond"))["message"] == "first\nsecond"
    assert len(told("x" * 1_000_000)["message"]) < 11_000


def test_asyncio_shows_nothing_of_what_it_held() -> None:
    """Its complaints end in the repr of a task, a handle or an exception, which is left out."""
    message = f"Task exception was never retrieved\nfuture: <Task exception=ValueError('{SECRET}')>"
    assert told(message, name="asyncio")["message"] == "Task exception was never retrieved"
    assert SECRET not in line(logs.Json(), f"Exception in callback f('{SECRET}')", name="asyncio")


def test_what_nobody_catches_is_a_line_too() -> None:
    """A thread, a destructor or the program that ends by an exception leaves JSON without its words."""
    code = f"""
import threading, warnings
from app import logs
logs.configure("json", "INFO")
logs.log_the_uncaught()
def fail(): raise ValueError("{SECRET}")
thread = threading.Thread(target=fail); thread.start(); thread.join()
class Ill:
    def __del__(self): fail()
Ill()
warnings.warn("take care")
fail()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    lines = [json.loads(text) for text in done.stderr.splitlines()]
    assert [found["severity"] for found in lines] == ["CRITICAL", "CRITICAL", "WARNING", "CRITICAL"]
    assert SECRET not in done.stderr
    assert done.returncode == 1


def test_libraries_speak_only_of_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """LOG_LEVEL is ours alone: at DEBUG a library would show what it sends and gets."""
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    levels = {name: logging.getLogger(name).level for name in logs.OURS}
    try:
        logs.configure("json", "DEBUG")
        enabled = {name: logging.getLogger(name).isEnabledFor(logging.DEBUG) for name in ("app.x", "tandem.x", "httpx")}
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
    assert enabled == {"app.x": True, "tandem.x": True, "httpx": False}


def test_no_call_of_ours_names_a_field_that_a_line_has() -> None:
    """logging raises when `extra` has a name of its own: no literal in the code does."""
    taken = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
    found = set()
    for path in (ROOT / "app").rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if "extra={" in text else ():
            if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict):
                found |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
    assert found
    assert found.isdisjoint(taken)
