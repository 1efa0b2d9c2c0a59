"""What all providers that speak OpenAI's wires have in common: the dialects, and the paths at which each is spoken."""

from __future__ import annotations

from collections.abc import Mapping
from secrets import token_hex
from typing import Any, Final
from urllib.parse import quote

from switchboard import __version__
from switchboard.core.ports import ForClients, ProviderDialect, Transport
from switchboard.core.types import Call, Operation, SocketCall
from switchboard.dialects.openai_chat import OpenAIChat
from switchboard.dialects.openai_completions import OpenAICompletions
from switchboard.dialects.openai_embeddings import OpenAIEmbeddings
from switchboard.dialects.openai_images import OpenAIImageEdits, OpenAIImages
from switchboard.dialects.openai_responses import OpenAIResponses
from switchboard.dialects.openai_speech import OpenAISpeech, OpenAISpeechEvents
from switchboard.dialects.openai_transcription import OpenAITranscription
from switchboard.providers.base import HttpProvider, Row
from switchboard.wire.multipart import FormWriter, form_type

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
    realtime = False  # whether it converses, where the settings do not say where

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

    def serves(self, operation: Operation, model: str) -> bool:
        if operation is Operation.CONVERSE:
            return self.realtime or self.row.realtime_url is not None
        return super().serves(operation, model)

    def socket(self, model: str) -> SocketCall | None:
        if not self.serves(Operation.CONVERSE, model):
            return None
        return self._socket("model", model)

    def _socket(self, parameter: str, said: str) -> SocketCall:
        url = self.row.realtime_url or self.realtime_base()
        joint = "&" if "?" in url else "?"
        lines = {"user-agent": f"switchboard/{__version__}", **self.fixed_headers()}
        if self.row.keys:
            header, key = self.key_line(self.row.keys[self._key])
            lines[header] = key
        if self.row.realtime_shape == "beta":
            lines["openai-beta"] = "realtime=v1"
        lines |= {k.lower(): v for k, v in self.row.headers.items()}
        head = b"".join(f"{k}: {v}\r\n".encode("latin-1") for k, v in lines.items())
        address = f"{url}{joint}{parameter}={quote(said, safe='')}"
        return SocketCall(address, head, self.row.realtime_shape, self.timeouts.connect, self._key)

    def for_clients(self, model: str) -> ForClients | None:
        return self if self.row.realtime_shape == "ga" and self.serves(Operation.CONVERSE, model) else None

    def client_secret(self, body: bytes) -> Call:
        """See `ForClients`."""
        return self._call(b"POST", (self.endpoint.path + "/realtime/client_secrets").encode(), body, b"")

    def offer(self, sdp: str, session: bytes) -> Call:
        """See `ForClients`."""
        boundary = b"switchboard-" + token_hex(16).encode()
        form = FormWriter(boundary)
        form.field("sdp", sdp)
        form.field("session", session.decode())
        target = (self.endpoint.path + "/realtime/calls").encode()
        return self._call(b"POST", target, form.body(), form_type(boundary))

    def joined(self, call_id: str) -> SocketCall:
        """See `ForClients`."""
        return self._socket("call_id", call_id)

    def hang_up(self, call_id: str) -> Call:
        """See `ForClients`."""
        path = f"{self.endpoint.path}/realtime/calls/{quote(call_id, safe='')}/hangup"
        return self._call(b"POST", path.encode(), b"", b"")

    def realtime_base(self) -> str:
        """Where it converses, where the settings do not say: beside its HTTP interface."""
        scheme, _, _ = self.endpoint.origin
        return f"{'wss' if scheme == 'https' else 'ws'}://{self.endpoint.host}{self.endpoint.path}/realtime"
