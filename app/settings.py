"""Every environment variable: its default, unit and bounds. Read once at start and passed on as values."""

import os
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

import platformdirs
from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app.admission.addresses import parse_networks
from app.admission.allowance import KEYHOLDERS, OFF, parse_endpoints, parse_limits
from app.admission.keys import PEPPER_CHARS, PEPPER_WANTED
from app.admission.origins import parse_origins
from app.answers.lifetime import parse_classes
from app.errors import StartupError
from app.llm import vertex_access
from app.llm.allowed import EVERY, parse_patterns

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
ModelName = Annotated[str, Field(pattern=r"^[a-z]+:.+", max_length=300)]


def readable(parse: Callable[[str], object]) -> AfterValidator:
    """Text that is kept as it was given, once it was seen that `parse` can read it; that raises ValueError."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def default_home() -> Path:
    """A folder of the user's own; as root one that the database's own account can reach."""
    return Path("/var/lib/tandem") if os.geteuid() == 0 else platformdirs.user_data_path("tandem")


class Settings(BaseSettings):
    """The settings, by their environment variables in lower case. Times in seconds unless the name says otherwise."""

    # What comes from a file, as secrets do, ends with a line end that nobody means.
    model_config = SettingsConfigDict(
        extra="ignore", env_ignore_empty=True, populate_by_name=True, str_strip_whitespace=True
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    auth: Literal["off", "keys", "iap"] = "off"
    allow_anonymous: bool = False
    key_pepper: Annotated[SecretStr, Field(min_length=PEPPER_CHARS)] | None = None
    key_cache_s: Annotated[float, Field(gt=0, le=300)] = 30.0
    key_away_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    session_s: Annotated[float, Field(ge=60, le=34_560_000)] = 43_200.0
    auth_failures_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 30
    iap_audience: Annotated[str, Field(min_length=1)] | None = None
    iap_admins: str = ""
    trusted_proxies: Annotated[str, readable(parse_networks)] = ""
    cors_origins: Annotated[str, readable(parse_origins)] = ""
    metrics_token: Annotated[SecretStr, Field(min_length=16)] | None = None
    log_format: Literal["json", "text"] = "text"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    fast_model: ModelName = "local:smollm2"
    slow_model: ModelName = "deliberate:5@local:smollm2"
    models_allowed: Annotated[str, readable(parse_patterns)] | None = None
    fast_timeout_s: Seconds = Field(default=5.0, validation_alias=AliasChoices("fast_timeout_s", "flash_timeout_s"))
    slow_timeout_s: Seconds = Field(default=45.0, validation_alias=AliasChoices("slow_timeout_s", "pro_timeout_s"))
    fast_first_token_timeout_s: Seconds | None = None
    slow_first_token_timeout_s: Seconds = 30.0
    fast_idle_timeout_s: Seconds | None = None
    slow_idle_timeout_s: Seconds = 20.0
    fast_max_output_tokens: Annotated[int, Field(gt=0, le=200_000)] | None = None
    slow_max_output_tokens: Annotated[int, Field(gt=0, le=200_000)] | None = None
    deadline_s: Seconds | None = None

    openai_base_url: str = "https://api.openai.com/v1"
    openai_api_key: SecretStr | None = None
    fast_openai_base_url: str | None = None
    fast_openai_api_key: SecretStr | None = None
    slow_openai_base_url: str | None = None
    slow_openai_api_key: SecretStr | None = None
    vertex_project: Annotated[str, AfterValidator(vertex_access.check_project)] | None = Field(
        default=None, validation_alias=AliasChoices("vertex_project", "google_cloud_project")
    )
    vertex_location: Annotated[str, AfterValidator(vertex_access.check_location)] = Field(
        default="global", validation_alias=AliasChoices("vertex_location", "google_cloud_location")
    )
    vertex_endpoint: Annotated[str, AfterValidator(vertex_access.check_endpoint)] | None = None
    vertex_safety: str = ""
    fast_vertex_thinking: Annotated[str, AfterValidator(vertex_access.check_thinking)] = "off"
    slow_vertex_thinking: Annotated[str, AfterValidator(vertex_access.check_thinking)] = "auto"
    slow_vertex_thoughts: bool = False
    connect_timeout_s: Seconds = 5.0
    max_connections: Annotated[int, Field(ge=1, le=20_000)] = 2000

    disconnect_grace_s: Annotated[float, Field(ge=0, le=3600)] = 15.0
    shutdown_grace_s: Annotated[float, Field(ge=0, le=3)] = 3.0
    ping_s: Annotated[float, Field(gt=0, le=15)] = 15.0
    send_timeout_s: Seconds = 30.0
    max_body_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    max_live_runs: Annotated[int, Field(ge=1, le=100_000)] = 2000
    load_max_races: Annotated[int, Field(ge=1, le=100_000)] = 1000
    load_max_lag_s: Annotated[float, Field(gt=0, le=3600)] = 0.5
    load_max_memory_bytes: Annotated[int, Field(ge=64 * 1024 * 1024)] | None = None
    load_streams_per_caller: Annotated[int, Field(ge=1, le=100_000)] = 100
    load_max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    load_head_timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    queue_length: Annotated[int, Field(ge=0, le=10_000)] = 100
    queue_timeout_s: Annotated[float, Field(gt=0, le=60)] = 0.5
    kept_runs: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    kept_runs_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    kept_runs_s: Seconds = 300.0
    slow_threshold_ms: Annotated[float, Field(gt=0, le=3_600_000)] = 8000.0

    breaker_threshold: Annotated[int, Field(ge=1, le=100_000)] = 5
    breaker_window_s: Annotated[float, Field(ge=0.05, le=3600)] = 30.0  # its tenths are counted
    breaker_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    breaker_minimum: Annotated[int, Field(ge=1, le=100_000)] = 20
    breaker_recovery_s: Annotated[float, Field(ge=0.05, le=3600)] = 10.0
    slow_lane_budget_share: Annotated[float, Field(ge=0, le=1)] | None = None
    hedge_after_s: Annotated[float, Field(gt=0, le=600)] | None = None
    hedge_after_p: Annotated[float, Field(ge=0.5, lt=1)] | None = None
    hedge_budget: Annotated[float, Field(gt=0, le=0.5)] = 0.05

    limit_caller: Annotated[str, readable(parse_limits)] | None = None
    limit_tenant: Annotated[str, readable(parse_limits)] = OFF
    limit_global: Annotated[str, readable(parse_limits)] = OFF
    limit_endpoints: Annotated[str, readable(parse_endpoints)] = ""
    limit_redis_timeout_s: Annotated[float, Field(gt=0, le=0.02)] = 0.015
    unpriced_models: Literal["configured", "allow", "refuse"] = "configured"
    budget_default_output_tokens: Annotated[int, Field(ge=1, le=200_000)] = 2000

    cache: bool = True
    cache_scope: Literal["caller", "tenant", "global"] = "caller"
    cache_ttl_s: Annotated[float, Field(gt=0, le=31_536_000)] = 86_400.0
    cache_ttl_by_class: str = ""
    cache_ttl_jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    cache_memory_entries: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    cache_memory_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    cache_memory_s: Annotated[float, Field(gt=0, le=31_536_000)] = 900.0
    cache_redis_timeout_s: Annotated[float, Field(gt=0, le=5)] = 0.05
    cache_postgres_timeout_s: Annotated[float, Field(gt=0, le=5)] = 0.1
    idempotency_s: Annotated[float, Field(gt=0, le=2_592_000)] = 86_400.0
    redis_url: SecretStr | None = None
    redis_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")] = "tandem"
    redis_lease_s: Annotated[float, Field(ge=1, le=60)] = 8.0
    request_log: bool = True
    log_project: Annotated[str, AfterValidator(vertex_access.check_project)] | None = None
    trace_endpoint: SecretStr | None = None
    trace_headers: SecretStr | None = None
    trace_sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    trace_service_name: Annotated[str, Field(pattern=r"^[ -~]{1,100}$")] = "tandem"
    health_stall_s: Annotated[float, Field(ge=30, le=3600)] = 60.0

    tandem_home: Path = Field(default_factory=default_home)
    database_url: SecretStr | None = None
    database_pool_size: Annotated[int, Field(ge=1, le=100)] = 5
    database_statement_cache: Annotated[int, Field(ge=0, le=10_000)] = 100
    database_iam: bool = False
    cloudsql_instance: Annotated[str, Field(pattern=r"^([^:/\s]+:)?[^:/\s]+:[^:/\s]+:[^:/\s]+$")] | None = None
    cloudsql_ip_type: Literal["private", "public", "psc"] = "private"
    migrate_at_start: bool = True

    audit_sink: Literal["spool", "direct"] = "spool"
    audit_full: Literal["refuse", "metadata"] = "refuse"
    audit_content: Literal["full", "redacted", "hash_only", "none"] = "full"
    audit_max_text_chars: Annotated[int, Field(ge=1000, le=10_000_000)] = 1_000_000
    audit_queue_entries: Annotated[int, Field(ge=10, le=1_000_000)] = 10_000
    audit_queue_bytes: Annotated[int, Field(ge=1024 * 1024)] = 64 * 1024 * 1024
    audit_fallback_s: Seconds = 2.0
    spool_dir: Path | None = None
    spool_max_bytes: Annotated[int, Field(ge=1024 * 1024)] = 1024 * 1024 * 1024
    spool_min_free_bytes: Annotated[int, Field(ge=0)] = 128 * 1024 * 1024
    prices_file: Path | None = None
    payload_days: Annotated[int, Field(ge=1, le=36_500)] = 30
    log_days: Annotated[int, Field(ge=1, le=36_500)] = 7
    run_days: Annotated[int, Field(ge=1, le=36_500)] = 365
    instance_silent_s: Annotated[float, Field(ge=15, le=86_400)] = 60.0

    @model_validator(mode="after")
    def _identity_is_whole(self) -> Self:
        if self.auth == "keys" and self.key_pepper is None:
            raise ValueError(f"AUTH=keys needs a secret of its own: {PEPPER_WANTED}")
        if self.auth == "iap" and self.iap_audience is None:
            raise ValueError(
                "AUTH=iap needs IAP_AUDIENCE, the name of what the proxy guards, as /projects/NUMBER/global/"
                "backendServices/ID; the console shows it under *Signed Header JWT Audience*"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # as pydantic-settings calls it
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment alone: to look for files of settings, which there are none, takes half of the reading."""
        return init_settings, env_settings

    @field_validator("cache_ttl_by_class")
    @classmethod
    def _classes(cls, text: str) -> str:
        parse_classes(text)
        return text

    @field_validator("vertex_safety")
    @classmethod
    def _safety(cls, text: str) -> str:
        vertex_access.parse_safety(text)
        return text

    def check_bind(self) -> None:
        """Raise StartupError when to listen would let everybody in."""
        if self.auth == "off" and not self.loopback and not self.allow_anonymous:
            raise StartupError(
                f"HOST={self.host} is not a loopback address and AUTH is off: anybody who reaches it could spend your "
                "money. Set AUTH=keys or HOST=127.0.0.1, or ALLOW_ANONYMOUS=true if something in front of it lets "
                "nobody else in"
            )

    @property
    def loopback(self) -> bool:
        """Only this machine can connect."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    @property
    def callers_models(self) -> str:
        """What else than the configured models a question may name: MODELS_ALLOWED; unset: on one's own machine all."""
        own = self.auth == "off" and self.loopback
        return self.models_allowed if self.models_allowed is not None else EVERY if own else OFF

    @property
    def caller_limits(self) -> str:
        """The limits of each caller: LIMIT_CALLER, or those for holders of keys; without AUTH none."""
        return self.limit_caller if self.limit_caller is not None else OFF if self.auth == "off" else KEYHOLDERS

    @property
    def spool_path(self) -> Path:
        """The folder of the spool: SPOOL_DIR, or one under TANDEM_HOME."""
        return self.spool_dir or self.tandem_home / "spool"

    @property
    def run_deadline_s(self) -> float:
        """The bound on a whole run: DEADLINE_S, or the larger lane timeout plus 5 s."""
        return self.deadline_s or min(max(self.fast_timeout_s, self.slow_timeout_s) + 5.0, 3600.0)


def read_settings() -> Settings:
    """The settings from the environment. Raises StartupError that names every wrong variable and its bound."""
    try:
        return Settings()
    except ValidationError as error:
        faults = [
            f"{str(fault['loc'][0]).upper()}: {fault['msg']}"
            if fault["loc"]
            else fault["msg"].removeprefix("Value error, ")
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise StartupError("the settings are not valid:\n  " + "\n  ".join(faults)) from None
