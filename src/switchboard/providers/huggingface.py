"""Hugging Face's inference router: OpenAI's wire, models as ``owner/model``, with ``:provider`` behind where one is
wanted. Source: Hugging Face documentation, "Inference Providers"."""

from __future__ import annotations

from switchboard.core.capabilities import Capabilities
from switchboard.providers.base import Kind
from switchboard.providers.openai_like import OpenAILike, Wires


class HuggingFaceProvider(OpenAILike):
    """The router at Hugging Face."""

    capabilities = Capabilities(top_k=True)

    def media(self) -> Wires:
        return {}  # it routes chats only


KIND = Kind(
    type="huggingface",
    title="Hugging Face",
    make=HuggingFaceProvider,
    base_url="https://router.huggingface.co/v1",
    model="openai/gpt-oss-120b",
    variables={"HF_TOKEN": "api_key"},
)
