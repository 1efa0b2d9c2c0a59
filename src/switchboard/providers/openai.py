"""OpenAI."""

from __future__ import annotations

import re

from switchboard.core.capabilities import VOICES, Capabilities
from switchboard.core.types import Operation
from switchboard.providers.base import Kind
from switchboard.providers.openai_like import OpenAILike

#: Models that think before they answer: they take an effort and no sampling parameters.
_REASONING = re.compile(r"(?:o\d|gpt-[5-9]).*")
_IMAGES = re.compile(r"(?:chat)?gpt-image.*")


class OpenAIProvider(OpenAILike):
    """OpenAI's own service."""

    capabilities = Capabilities(
        completion_tokens=_REASONING,
        fixed_sampling=_REASONING,
        reasoning=_REASONING,
        lifecycle="openai",
        uploads_grow=True,
        prices="openai",
        base64_images=_IMAGES,
        voices=VOICES,
    )
    realtime = True
    apis = ("responses",)  # the models of its completions are gone: they are asked as chats


KIND = Kind(
    type="openai",
    title="OpenAI",
    make=OpenAIProvider,
    base_url="https://api.openai.com/v1",
    model="gpt-4o",
    models={
        Operation.EMBED: "text-embedding-3-small",
        Operation.DRAW: "gpt-image-2.5-flare",
        Operation.SPEAK: "gpt-4o-mini-tts",
        Operation.TRANSCRIBE: "gpt-transcribe",
        Operation.CONVERSE: "gpt-realtime-2.1",
    },
    variables={
        "OPENAI_API_KEY": "api_key",
        "OPENAI_BASE_URL": "base_url",
        "OPENAI_REALTIME_API_URL": "realtime_url",
    },
)
