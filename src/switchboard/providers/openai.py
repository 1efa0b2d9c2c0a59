"""OpenAI."""

from __future__ import annotations

import re

from switchboard.core.capabilities import Capabilities
from switchboard.dialects.openai_chat import OpenAIChat
from switchboard.providers.base import HttpProvider, Kind

#: Models that think before they answer: they take an effort and no sampling parameters.
_REASONING = re.compile(r"(?:o\d|gpt-[5-9]).*")


class OpenAIProvider(HttpProvider):
    """OpenAI's own service."""

    capabilities = Capabilities(
        completion_tokens=_REASONING, fixed_sampling=_REASONING, reasoning=_REASONING, lifecycle="openai"
    )
    chat = OpenAIChat()


KIND = Kind(
    type="openai",
    title="OpenAI",
    make=OpenAIProvider,
    base_url="https://api.openai.com/v1",
    model="gpt-4o",
    variables={
        "OPENAI_API_KEY": "api_key",
        "OPENAI_BASE_URL": "base_url",
        "OPENAI_REALTIME_API_URL": "realtime_url",
    },
)
