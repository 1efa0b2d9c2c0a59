"""Anthropic. Source: the official ``anthropic`` SDK (paths, headers)."""

from __future__ import annotations

from switchboard.core.capabilities import Capabilities
from switchboard.dialects.anthropic_messages import AnthropicMessages
from switchboard.providers.base import Endpoint, HttpProvider, Kind, endpoint

#: Newer versions refuse temperature and the like, which clients of the other dialects send; one that speaks this
#: dialect brings its own version.
VERSION = "2023-06-01"


class AnthropicProvider(HttpProvider):
    """Anthropic's own service, or one that speaks its wire."""

    capabilities = Capabilities(
        openai_like=False, stream_usage=False, top_k=True, lifecycle="anthropic", prices="anthropic"
    )
    chat = AnthropicMessages()
    models_path = "/models?limit=1000"

    def read_base_url(self, base_url: str) -> Endpoint:
        place = endpoint(base_url)
        return place if place.path.endswith("/v1") else Endpoint(place.origin, place.path + "/v1")

    def path(self, wire: str, model: str) -> str:
        return "/messages"

    def key_line(self, key: str) -> tuple[str, str]:
        return "x-api-key", key

    def fixed_headers(self) -> dict[str, str]:
        return {"anthropic-version": VERSION}


KIND = Kind(
    type="anthropic",
    title="Anthropic",
    make=AnthropicProvider,
    base_url="https://api.anthropic.com",
    model="claude-sonnet-4-6",
    variables={"ANTHROPIC_API_KEY": "api_key", "ANTHROPIC_BASE_URL": "base_url"},
)
