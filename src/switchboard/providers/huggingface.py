"""Hugging Face's inference router: OpenAI's wire, models as ``owner/model``, with ``:provider`` behind where one is
wanted. Source: Hugging Face documentation, "Inference Providers"."""

from __future__ import annotations

from switchboard.core.capabilities import Capabilities
from switchboard.dialects.openai_chat import OpenAIChat
from switchboard.providers.base import HttpProvider, Kind


class HuggingFaceProvider(HttpProvider):
    """The router at Hugging Face."""

    capabilities = Capabilities(top_k=True)
    chat = OpenAIChat()


KIND = Kind(
    type="huggingface",
    title="Hugging Face",
    make=HuggingFaceProvider,
    base_url="https://router.huggingface.co/v1",
    model="openai/gpt-oss-120b",
    variables={"HF_TOKEN": "api_key"},
)
