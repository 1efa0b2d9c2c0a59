"""What all providers that speak OpenAI's wires have in common: the dialects, and the paths at which each is spoken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from switchboard.core.ports import ProviderDialect, Transport
from switchboard.core.types import Operation
from switchboard.dialects.openai_chat import OpenAIChat
from switchboard.dialects.openai_completions import OpenAICompletions
from switchboard.dialects.openai_embeddings import OpenAIEmbeddings
from switchboard.dialects.openai_images import OpenAIImageEdits, OpenAIImages
from switchboard.dialects.openai_responses import OpenAIResponses
from switchboard.dialects.openai_speech import OpenAISpeech, OpenAISpeechEvents
from switchboard.dialects.openai_transcription import OpenAITranscription
from switchboard.providers.base import HttpProvider, Row

Wires = Mapping[Operation, Mapping[str, ProviderDialect[Any]]]

PATHS: Final = {
    "openai_chat": "/chat/completions",
    "openai_completions": "/completions",
    "openai_responses": "/responses",
    "openai_embeddings": "/embeddings",
    "openai_images": "/images/generations",
    "openai_image_edits": "/images/edits",
    "openai_speech": "/audio/speech",
    "openai_speech_events": "/audio/speech",
    "openai_transcription": "/audio/transcriptions",
}
#: Wires of text that not every server has besides its chat, as settings name them.
_APIS: Final[Mapping[str, ProviderDialect[Any]]] = {
    "responses": OpenAIResponses(),
    "completions": OpenAICompletions(),
}


def _named(*dialects: ProviderDialect[Any]) -> dict[str, ProviderDialect[Any]]:
    return {d.name: d for d in dialects}


_MEDIA: Final[Wires] = {
    Operation.EMBED: _named(OpenAIEmbeddings()),
    Operation.DRAW: _named(OpenAIImages(), OpenAIImageEdits()),
    Operation.SPEAK: _named(OpenAISpeech(), OpenAISpeechEvents()),
    Operation.TRANSCRIBE: _named(OpenAITranscription()),
}


class OpenAILike(HttpProvider):
    """A provider that speaks OpenAI's wires. `apis` are those of text that it has besides its chat, where the settings do
    not say."""

    apis: tuple[str, ...] = ()

    def __init__(self, row: Row, transport: Transport) -> None:
        super().__init__(row, transport)
        spoken = self.apis if row.apis is None else row.apis
        text = _named(OpenAIChat(), *[_APIS[name] for name in spoken])
        self.wires = {Operation.GENERATE: text, **self.media()}

    def media(self) -> Wires:
        """The dialects of its other operations."""
        return _MEDIA

    def path(self, wire: str, model: str) -> str:
        return PATHS[wire]
