"""The names that spans carry. Source: OpenTelemetry's semantic conventions for HTTP and for generative AI (1.45, where
the latter are still in development): one place, for they do change."""

from __future__ import annotations

from typing import Final

METHOD: Final = "http.request.method"
PATH: Final = "url.path"
STATUS: Final = "http.response.status_code"
ERROR: Final = "error.type"

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
STREAM: Final = "gen_ai.request.stream"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"

#: What the conventions call an operation of ours.
CHAT: Final = "chat"
#: … and a kind of provider, where that is not its own name.
PROVIDERS: Final = {"azure": "azure.ai.openai", "compatible": "openai"}

# our own
REQUEST_ID: Final = "switchboard.request_id"
OUTCOME: Final = "switchboard.outcome"
PROFILE: Final = "switchboard.profile"
DIALECT: Final = "switchboard.dialect"
ATTEMPTS: Final = "switchboard.attempts"
ESTIMATED: Final = "switchboard.tokens_estimated"
PROVIDER_ROW: Final = "switchboard.provider"
