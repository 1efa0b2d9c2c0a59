"""Azure OpenAI. Source: Microsoft's documentation, "Azure OpenAI REST API reference".

Two forms: ``/openai/v1/…`` with the deployment as the model, and, where the settings name an ``api_version`` that is a
date, ``/openai/deployments/{deployment}/…?api-version=…``. Models are deployments: the settings list them.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from switchboard.core.capabilities import VOICES, Capabilities
from switchboard.core.ports import ForClients
from switchboard.providers.base import Endpoint, Kind, endpoint
from switchboard.providers.openai_like import PATHS, OpenAILike

_DATED: Final = re.compile(r"\d{4}-\d\d-\d\d(?:-preview)?")
_REASONING: Final = re.compile(r"(?:o\d|gpt-[5-9]).*")
_IMAGES: Final = re.compile(r"gpt-image.*")


class AzureProvider(OpenAILike):
    """A resource at Azure: ``https://{resource}.openai.azure.com`` or ``https://{resource}.cognitiveservices.azure.com``.

    Its key goes as ``api-key``; with ``key_style: bearer`` it is an Entra token.
    """

    # what a deployment is called need not say what it is; where it does, it is believed
    capabilities = Capabilities(
        completion_tokens=_REASONING,
        fixed_sampling=_REASONING,
        reasoning=_REASONING,
        prices="azure",
        uploads_grow=True,
        base64_images=_IMAGES,
        voices=VOICES,
    )
    realtime = True
    apis = ("responses",)
    models_path = None  # the service lists what could be deployed, not what is

    def read_base_url(self, base_url: str) -> Endpoint:
        place = endpoint(base_url)
        root = re.sub(r"/openai(?:/v1)?$", "", place.path)
        return Endpoint(place.origin, f"{root}/openai" if self._dated else f"{root}/openai/v1")

    @property
    def _dated(self) -> bool:
        version = self.row.api_version
        return version is not None and _DATED.fullmatch(version) is not None

    def path(self, wire: str, model: str) -> str:
        path = PATHS[wire]
        if not self._dated:
            return path
        if wire == "openai_responses":
            return f"{path}?api-version={self.row.api_version}"
        return f"/deployments/{quote(model, safe='')}{path}?api-version={self.row.api_version}"

    def probe_path(self) -> str:
        return f"/models?api-version={self.row.api_version}" if self._dated else "/models"

    def for_clients(self, model: str) -> ForClients | None:
        return None if self._dated else super().for_clients(model)

    def key_line(self, key: str) -> tuple[str, str]:
        return ("authorization", f"Bearer {key}") if self.row.key_style == "bearer" else ("api-key", key)


KIND = Kind(
    type="azure",
    title="Azure OpenAI",
    make=AzureProvider,
    variables={
        "AZURE_OPENAI_ENDPOINT": "base_url",
        "AZURE_OPENAI_API_KEY": "api_key",
        "AZURE_OPENAI_API_VERSION": "api_version",
        "AZURE_OPENAI_CHAT_DEPLOYMENT": "models",
        "AZURE_OPENAI_TTS_DEPLOYMENT": "speech_model",
    },
)
