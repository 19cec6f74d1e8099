"""Every environment variable: its default, unit and bounds. Read once at start and passed on as values."""

import os
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.answers.lifetime import parse_classes
from app.errors import StartupError
from app.llm import vertex_access

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
ModelName = Annotated[str, Field(pattern=r"^[a-z]+:.+", max_length=300)]
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def default_home() -> Path:
    """A folder of the user's own; as root one that the database's own account can reach."""
    return Path("/var/lib/tandem") if os.geteuid() == 0 else platformdirs.user_data_path("tandem")


class Settings(BaseSettings):
    """The settings, by their environment variables in lower case. Times in seconds unless the name says otherwise."""

    model_config = SettingsConfigDict(extra="ignore", env_ignore_empty=True, populate_by_name=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    auth: Literal["off"] = "off"
    allow_anonymous: bool = False
    log_format: Literal["json", "text"] = "text"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    fast_model: ModelName = "local:smollm2"
    slow_model: ModelName = "deliberate:5@local:smollm2"
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
    kept_runs: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    kept_runs_bytes: Annotated[int, Field(ge=0)] = 64 * 1024 * 1024
    kept_runs_s: Seconds = 300.0
    slow_threshold_ms: Annotated[float, Field(gt=0, le=3_600_000)] = 8000.0

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
        if self.host not in LOOPBACK and not self.allow_anonymous:
            raise StartupError(
                f"HOST={self.host} is not a loopback address and AUTH is off: anybody who reaches it could spend your "
                "money. Set HOST=127.0.0.1, or ALLOW_ANONYMOUS=true if something in front of it lets nobody else in"
            )

    @property
    def loopback(self) -> bool:
        """Only this machine can connect."""
        return self.host in LOOPBACK

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
