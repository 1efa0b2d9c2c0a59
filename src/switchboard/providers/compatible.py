"""Any server that speaks OpenAI's wire: Ollama, vLLM, llama.cpp, LM Studio, a gateway. A settings row, no code.

Nothing is taken for granted about its models: a key is sent only where there is one, and members are not renamed.
"""

from __future__ import annotations

from switchboard.core.capabilities import Capabilities
from switchboard.providers.openai import OpenAIProvider


class CompatibleProvider(OpenAIProvider):
    """An OpenAI-compatible server; see `providers.openai.OpenAIProvider`."""

    capabilities = Capabilities()
    key_needed = False
