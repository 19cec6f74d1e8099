"""What OpenTelemetry calls things. Its names for language models are still in development, so they are here alone."""

from typing import Final

from app.question import LaneName

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
MAX_TOKENS: Final = "gen_ai.request.max_tokens"
TEMPERATURE: Final = "gen_ai.request.temperature"
RESPONSE_MODEL: Final = "gen_ai.response.model"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
FIRST_CHUNK_S: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
THINKING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
ERROR_TYPE: Final = "error.type"
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE: Final = "service.instance.id"

CHAT: Final = "chat"
PROVIDERS: Final = {"openai": "openai", "vertex": "gcp.vertex_ai"}  # any other is called what we call it

# Ours, as nobody else has them.
RUN: Final = "tandem.run"
RUN_ID: Final = "tandem.run_id"
POLICY: Final = "tandem.policy"
SOURCE: Final = "tandem.source"
STATUS: Final = "tandem.status"
REASON: Final = "tandem.reason"
FINAL_LANE: Final = "tandem.final_lane"
VERIFIED: Final = "tandem.verified"
AGREEMENT: Final = "tandem.agreement"
COST_USD: Final = "tandem.cost_usd"
REQUEST_ID: Final = "tandem.request_id"
LANE: Final = "tandem.lane"
MODEL: Final = "tandem.model"
OUTCOME: Final = "tandem.outcome"
USAGE_SOURCE: Final = "tandem.usage_source"


def lane_span(lane: LaneName) -> str:
    """The part of a run that a lane's span stands for."""
    return f"lane/{lane}"
