"""Any server that speaks OpenAI's wire: Ollama, vLLM, llama.cpp, LM Studio, a gateway. A settings row, no code.

Nothing is taken for granted about its models: a key is sent only where there is one, and members are not renamed.
"""

from __future__ import annotations

from switchboard.core.capabilities import Capabilities
from switchboard.providers.base import Kind
from switchboard.providers.openai_like import OpenAILike


class CompatibleProvider(OpenAILike):
    """An OpenAI-compatible server."""

    capabilities = Capabilities(top_k=True)
    apis = ("completions",)
    key_needed = False


KIND = Kind(type="compatible", title="", make=CompatibleProvider, key_needed=False)
