"""Azure Speech. Source: Microsoft's documentation, "Text to speech REST API", "Speech to text REST API for short audio",
"Fast transcription API", "Use private endpoints with Speech service", "Speech service in sovereign clouds".

A region has a host for each of three services. A resource with a name of its own has one host for all of them, with the
service in front of the path; any other base URL (a container, a gateway) is asked under the paths as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from switchboard.core.capabilities import Capabilities
from switchboard.core.ports import ProviderDialect, Transport
from switchboard.core.types import Call, Lines, Operation, Upload, header
from switchboard.dialects.azure_speech import SHORT, AzureSynthesis, AzureTranscription, Recording
from switchboard.providers.base import Endpoint, HttpProvider, Kind, Row, endpoint

TTS: Final = "azure-tts"
FAST: Final = "azure-stt-fast"
#: What its models do; one that the settings name besides does whatever is asked of it.
_DOES: Final = {TTS: Operation.SPEAK, FAST: Operation.TRANSCRIBE, SHORT: Operation.TRANSCRIBE}
_WIRES: Final[Mapping[Operation, Mapping[str, ProviderDialect[Any]]]] = {
    Operation.SPEAK: {AzureSynthesis.name: AzureSynthesis()},
    Operation.TRANSCRIBE: {AzureTranscription.name: AzureTranscription()},
}
_SPEAK_PATH: Final = "/cognitiveservices/v1"
_VOICES_PATH: Final = "/cognitiveservices/voices/list"
#: The endpoints that the portal shows of a resource without a name of its own.
_REGIONAL: Final = re.compile(
    r"([a-z0-9]+)\.(?:(?:tts|stt)\.speech\.(?:microsoft\.com|azure\.us|azure\.cn)"
    r"|api\.cognitive\.(?:microsoft\.com|microsoft\.us|azure\.cn))"
)
_NAMED: Final = re.compile(r"[a-z0-9-]+\.(?:cognitiveservices\.azure\.(?:com|us|cn)|services\.ai\.azure\.com)")


class AzureSpeechProvider(HttpProvider):
    """A Speech resource, or a Foundry resource that has speech. It speaks and listens; it does not chat."""

    capabilities = Capabilities(openai_like=False, stream_usage=False, any_model=False)
    models_path = None

    def __init__(self, row: Row, transport: Transport) -> None:
        self._places: Final = _places(row)
        super().__init__(row, transport)
        self.wires = _WIRES
        self.models = row.models or tuple(_DOES)

    def read_base_url(self, base_url: str) -> Endpoint:
        return self._places["tts"]

    def key_line(self, key: str) -> tuple[str, str]:
        return "ocp-apim-subscription-key", key

    def serves(self, operation: Operation, model: str) -> bool:
        return operation in self.wires and _DOES.get(model, operation) is operation

    def default_model(self, operation: Operation) -> str:
        return super().default_model(operation) if operation in self.wires else ""

    def call(self, wire: str, model: str, body: bytes | Upload, lines: Lines) -> Call:
        if isinstance(body, Recording):
            return self._at(body.service, b"POST", body.target, body, body.kind + lines)
        return self._at("tts", b"POST", _SPEAK_PATH, body, lines)

    def probe(self) -> Call | None:
        return self._at("tts", b"GET", _VOICES_PATH, b"", b"")

    def _at(self, service: str, method: bytes, target: str, body: bytes | Upload, lines: Lines) -> Call:
        """A call to one of the services."""
        place = self._places[service]
        if place.origin != self.endpoint.origin:
            lines = header(b"host", place.host.encode()) + lines
        call = self._call(method, (place.path + target).encode(), body, lines)
        call.origin = place.origin
        return call


def _places(row: Row) -> dict[str, Endpoint]:
    """Where each service is: speech ("tts"), short recordings ("stt"), and the rest ("api"). Raises `ValueError`."""
    region = row.region.lower()
    if row.base_url:
        base = endpoint(row.base_url)
        host = base.origin[1]
        if _NAMED.fullmatch(host) is not None:
            return {s: Endpoint(base.origin, base.path + p) for s, p in (("tts", "/tts"), ("stt", "/stt"), ("api", ""))}
        regional = _REGIONAL.fullmatch(host)
        if regional is None:
            return dict.fromkeys(("tts", "stt", "api"), base)
        region = regional[1]
    if not region:
        raise ValueError("Azure Speech needs a region or a base URL")
    speech, rest = "speech.microsoft.com", "cognitive.microsoft.com"
    if region.startswith("usgov"):
        speech, rest = "speech.azure.us", "cognitive.microsoft.us"
    elif region.startswith("china"):
        speech, rest = "speech.azure.cn", "cognitive.azure.cn"
    hosts = {"tts": f"tts.{speech}", "stt": f"stt.{speech}", "api": f"api.{rest}"}
    return {service: endpoint(f"https://{region}.{host}") for service, host in hosts.items()}


KIND = Kind(
    type="azure_speech",
    title="Azure Speech",
    make=AzureSpeechProvider,
    chats=False,
    models={Operation.SPEAK: TTS, Operation.TRANSCRIBE: FAST},
    variables={"AZURE_SPEECH_KEY": "api_key", "AZURE_SPEECH_REGION": "region"},
)
