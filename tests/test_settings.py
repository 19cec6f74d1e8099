"""Settings: what a newcomer gets, and what a wrong value is told."""

from typing import Any

import pytest

from app.errors import StartupError
from app.settings import Settings, read_settings

pytestmark = pytest.mark.usefixtures("clean_environment")

SECRET = "sk-very-secret"
DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8080,
    "fast_model": "local:smollm2",
    "slow_model": "deliberate:5@local:smollm2",
    "fast_timeout_s": 5.0,
    "slow_timeout_s": 45.0,
    "run_deadline_s": 50.0,
    "disconnect_grace_s": 15.0,
    "shutdown_grace_s": 3.0,
    "database_url": None,
    "slow_threshold_ms": 8000.0,
    "auth": "off",
    "allow_anonymous": False,
    "max_body_bytes": 1 << 20,
}
OLD_NAMES = ("flash_timeout_s", "pro_timeout_s", "google_cloud_project", "google_cloud_location")
# A value just outside each bound, and what the message must contain.
OUT_OF_BOUNDS = [
    ("PORT", "-1", "0"),
    ("PORT", "65536", "65535"),
    ("PORT", "http", "integer"),
    ("FAST_TIMEOUT_S", "0", "greater than 0"),
    ("FAST_TIMEOUT_S", "3601", "3600"),
    ("SLOW_TIMEOUT_S", "nan", "finite"),
    ("SLOW_TIMEOUT_S", "inf", "finite"),
    ("FAST_FIRST_TOKEN_TIMEOUT_S", "-1", "0"),
    ("SLOW_FIRST_TOKEN_TIMEOUT_S", "3601", "3600"),
    ("FAST_IDLE_TIMEOUT_S", "0", "0"),
    ("SLOW_IDLE_TIMEOUT_S", "soon", "number"),
    ("FAST_MAX_OUTPUT_TOKENS", "0", "0"),
    ("SLOW_MAX_OUTPUT_TOKENS", "200001", "200000"),
    ("DEADLINE_S", "0", "0"),
    ("CONNECT_TIMEOUT_S", "0", "0"),
    ("MAX_CONNECTIONS", "0", "1"),
    ("VERTEX_PROJECT", "a/b", "project"),
    ("VERTEX_LOCATION", "Mars!", "location"),
    ("VERTEX_ENDPOINT", "https://host/path", "host:port"),
    ("VERTEX_SAFETY", "hate=never", "low, medium"),
    ("VERTEX_SAFETY", "rude=low", "harassment"),
    ("FAST_VERTEX_THINKING", "much", "65536"),
    ("SLOW_VERTEX_THINKING", "65537", "65536"),
    ("DISCONNECT_GRACE_S", "-1", "0"),
    ("DISCONNECT_GRACE_S", "nan", "0"),
    ("SHUTDOWN_GRACE_S", "3.1", "3"),
    ("SHUTDOWN_GRACE_S", "-1", "0"),
    ("PING_S", "0", "0"),
    ("PING_S", "16", "15"),
    ("SEND_TIMEOUT_S", "0", "0"),
    ("MAX_BODY_BYTES", "1023", "1024"),
    ("MAX_BODY_BYTES", str((64 << 20) + 1), str(64 << 20)),
    ("MAX_LIVE_RUNS", "0", "1"),
    ("BREAKER_WINDOW_S", "1e-320", "0.05"),
    ("KEPT_RUNS", "-1", "0"),
    ("KEPT_RUNS_BYTES", "-1", "0"),
    ("KEPT_RUNS_S", "0", "0"),
    ("SLOW_THRESHOLD_MS", "0", "0"),
    ("DATABASE_POOL_SIZE", "101", "100"),
    ("AUDIT_QUEUE_ENTRIES", "9", "10"),
    ("AUDIT_QUEUE_BYTES", "1", str(1 << 20)),
    ("AUTH", "maybe", "off"),
    ("LOG_LEVEL", "loud", "INFO"),
    ("LOG_FORMAT", "xml", "json"),
    ("ALLOW_ANONYMOUS", "perhaps", "boolean"),
    ("FAST_MODEL", "gpt", ":"),
    ("SLOW_MODEL", "openai:", ":"),
]


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the environment of the tests says."""
    for name in (*Settings.model_fields, *OLD_NAMES):
        monkeypatch.delenv(name.upper(), raising=False)


def read(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Settings:
    """The settings of an environment."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return read_settings()


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_defaults_are_those_of_the_protocol(name: str, value: Any) -> None:
    """A newcomer who sets nothing gets the defaults that the protocol promises."""
    assert getattr(read_settings(), name) == value


def test_old_names_are_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLASH_TIMEOUT_S and PRO_TIMEOUT_S are other names of the lanes' timeouts."""
    settings = read(monkeypatch, FLASH_TIMEOUT_S="3", PRO_TIMEOUT_S="12")
    assert (settings.fast_timeout_s, settings.slow_timeout_s) == (3.0, 12.0)


def test_names_of_google_cloud_are_read_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_LOCATION are other names of the project and the location."""
    settings = read(monkeypatch, GOOGLE_CLOUD_PROJECT="mine", GOOGLE_CLOUD_LOCATION="eu")
    assert (settings.vertex_project, settings.vertex_location) == ("mine", "eu")


def test_the_newer_name_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """FAST_TIMEOUT_S is believed where FLASH_TIMEOUT_S says something else."""
    assert read(monkeypatch, FAST_TIMEOUT_S="2", FLASH_TIMEOUT_S="3").fast_timeout_s == 2.0
    assert read(monkeypatch, FAST_TIMEOUT_S="", FLASH_TIMEOUT_S="3").fast_timeout_s == 3.0


@pytest.mark.parametrize(
    ("environment", "deadline_s"),
    [
        ({"FAST_TIMEOUT_S": "60"}, 65.0),
        ({"SLOW_TIMEOUT_S": "20"}, 25.0),
        ({"SLOW_TIMEOUT_S": "3599"}, 3600.0),
        ({"SLOW_TIMEOUT_S": "20", "DEADLINE_S": "7"}, 7.0),
    ],
)
def test_the_deadline_follows_the_lanes(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], deadline_s: float
) -> None:
    """DEADLINE_S is the larger lane timeout plus 5 s, within an hour, unless it is set."""
    assert read(monkeypatch, **environment).run_deadline_s == deadline_s


@pytest.mark.parametrize(("name", "value", "bound"), OUT_OF_BOUNDS)
def test_a_wrong_value_is_told_with_its_variable_and_bound(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, bound: str
) -> None:
    """A setting out of its bounds stops the start with a message that names the variable and the bound."""
    with pytest.raises(StartupError) as caught:
        read(monkeypatch, **{name: value})
    assert f"  {name}: " in caught.value.message
    assert bound in caught.value.message.partition(f"{name}: ")[2]


def test_a_wrong_old_name_is_told_by_a_name_that_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong FLASH_TIMEOUT_S is told under a name by which it can be found in the documents."""
    with pytest.raises(StartupError, match=r"(FLASH|FAST)_TIMEOUT_S: .*3600"):
        read(monkeypatch, FLASH_TIMEOUT_S="9999")


def test_every_wrong_setting_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two wrong settings are told in one message, so that nobody has to start three times."""
    with pytest.raises(StartupError, match=r"(?s)PORT: .*PING_S: "):
        read(monkeypatch, PORT="x", PING_S="99")


def test_white_space_around_a_value_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret that comes from a file is the same with the line end that files have, and without."""
    pepper = "p" * 64
    for written in (pepper, f"{pepper}\n", f" {pepper}\r\n"):
        found = read(monkeypatch, KEY_PEPPER=written, FAST_MODEL=" scripted:fast\n")
        assert found.key_pepper is not None
        assert (found.key_pepper.get_secret_value(), found.fast_model) == (pepper, "scripted:fast")


def test_secrets_are_in_no_message_and_no_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret setting appears neither when settings are shown nor when one of them is refused."""
    secrets = dict.fromkeys(("OPENAI_API_KEY", "FAST_OPENAI_API_KEY", "SLOW_OPENAI_API_KEY"), SECRET)
    settings = read(monkeypatch, **secrets, DATABASE_URL=f"postgresql://me:{SECRET}@db/x")
    assert SECRET not in repr(settings) + str(settings) + settings.model_dump_json()
    with pytest.raises(StartupError) as caught:
        read(monkeypatch, PORT="x", HOST="0.0.0.0")
    assert SECRET not in caught.value.message


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])
def test_a_public_bind_needs_a_word(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A server that anybody could reach does not start until ALLOW_ANONYMOUS says that this is meant."""
    with pytest.raises(StartupError, match="ALLOW_ANONYMOUS"):
        read(monkeypatch, HOST=host).check_bind()
    settings = read(monkeypatch, HOST=host, ALLOW_ANONYMOUS="true")
    settings.check_bind()
    assert (settings.host, settings.loopback) == (host, False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "LocalHost", "::1", "0:0:0:0:0:0:0:1"])
def test_a_loopback_bind_needs_none(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """A server on loopback starts as it is."""
    settings = read(monkeypatch, HOST=host)
    settings.check_bind()
    assert settings.loopback


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set to nothing leaves the default, as `make` passes unset ones on."""
    empty = dict.fromkeys(("PORT", "FAST_MODEL", "DATABASE_URL", "FAST_TIMEOUT_S", "FLASH_TIMEOUT_S", "DEADLINE_S"), "")
    settings = read(monkeypatch, **empty)
    assert (settings.port, settings.fast_model, settings.database_url) == (8080, "local:smollm2", None)
    assert (settings.fast_timeout_s, settings.run_deadline_s) == (5.0, 50.0)
