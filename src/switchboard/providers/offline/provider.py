"""The declaration of the offline provider, and the transport that answers its calls inside this process."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from switchboard.core.capabilities import VOICES, Capabilities
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.ports import Flow, ForClients, ProviderDialect, Transport, UpstreamSink
from switchboard.core.types import Call, Lines, Operation, SocketCall, Timeouts, Upload
from switchboard.dialects.openai_chat import OpenAIChat
from switchboard.dialects.openai_embeddings import OpenAIEmbeddings
from switchboard.providers.offline.embeddings import HASHED, embed
from switchboard.providers.offline.models import MODELS, Cut, Script, Wait, script_for
from switchboard.providers.offline.wires import OfflineImages, OfflineSpeech, OfflineTranscription

_MODELS: Final[dict[Operation, tuple[str, ...]]] = {
    Operation.GENERATE: tuple(MODELS),
    Operation.EMBED: (HASHED,),
    Operation.DRAW: ("card",),
    Operation.SPEAK: ("espeak",),
    Operation.TRANSCRIBE: ("pocketsphinx",),
}
_WIRES: Final[dict[Operation, ProviderDialect[Any]]] = {
    Operation.GENERATE: OpenAIChat(),
    Operation.EMBED: OpenAIEmbeddings(),
    Operation.DRAW: OfflineImages(),
    Operation.SPEAK: OfflineSpeech(),
    Operation.TRANSCRIBE: OfflineTranscription(),
}
_log: Final = logging.getLogger("switchboard.offline")
_ORIGIN: Final = ("offline", "offline", 0)


class OfflineProvider:
    """Answers by itself. `pace` is the seconds between two words of a streamed answer; `studio` does what needs a process of
    its own (`providers.offline.studio`)."""

    capabilities = Capabilities(any_model=False, own_words=True, voices=VOICES)
    title = "Offline"
    secrets: tuple[str, ...] = ()
    configured = True

    def __init__(
        self, name: str = "offline", *, studio: Transport, pace: float = 0.02, timeouts: Timeouts | None = None
    ) -> None:
        self.name = name
        self.timeouts = timeouts or Timeouts()
        self.models = tuple(name for names in _MODELS.values() for name in names)
        self.transport: Transport = OfflineTransport(pace, studio)

    def serves(self, operation: Operation, model: str) -> bool:
        known = _MODELS.get(operation, ())
        return model in known if model else bool(known)

    def default_model(self, operation: Operation) -> str:
        return next(iter(_MODELS.get(operation, ())), "")

    def dialect(self, operation: Operation, prefer: str) -> ProviderDialect[Any]:
        return _WIRES[operation]

    def call(self, wire: str, model: str, body: bytes | Upload, lines: Lines) -> Call:
        return Call(_ORIGIN, b"POST", wire.encode(), b"", body)

    def probe(self) -> Call | None:
        return None

    def another_key(self, call: Call | SocketCall, tried: int) -> bool:
        return False

    def socket(self, model: str) -> SocketCall | None:
        return None

    def for_clients(self, model: str) -> ForClients | None:
        return None

    def list_models(self) -> Call | None:
        return None


class OfflineTransport:
    """A `core.ports.Transport` that plays scripts (`providers.offline.models`) instead of reaching a network; what is to be
    spoken, listened to or drawn goes to the `studio`."""

    def __init__(self, pace: float, studio: Transport) -> None:
        self._pace = pace
        self._studio = studio

    def send(self, call: Call, sink: UpstreamSink) -> Flow:
        if call.target not in (b"openai_chat", b"openai_embeddings"):
            return self._studio.send(call, sink)
        assert isinstance(call.body, bytes)
        if call.target == b"openai_embeddings":
            return _Playback(embed(call.body), sink)
        return _Playback(script_for(call.body, self._pace), sink)


class _Playback:
    """Plays one script into a sink, a step at a time, from the event loop's timers."""

    def __init__(self, script: Script, sink: UpstreamSink) -> None:
        self._script = script
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._paused = False
        self._timer: asyncio.Handle | None = self._loop.call_soon(self._step)

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._timer is None:
            self._timer = self._loop.call_soon(self._step)

    def abort(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._paused = True
        self._script.close()

    def _step(self) -> None:
        self._timer = None
        if self._paused:
            return
        try:
            step = next(self._script)
        except StopIteration:
            self._paused = True
            self._sink.on_end()
            return
        except Exception as e:
            self._paused = True
            _log.exception("an offline model failed")
            self._sink.on_error(UpstreamError(Fault.PROTOCOL, repr(e)))
            return
        if isinstance(step, Wait):
            self._timer = self._loop.call_later(step.seconds, self._step)
            return
        # the next step is on its way before the sink is told of this one, for the sink may abort
        self._timer = self._loop.call_soon(self._step)
        if isinstance(step, bytes):
            self._sink.on_data(step)
        elif isinstance(step, Cut):
            self.abort()
            self._sink.on_error(UpstreamError(Fault.CUT, "the script ends here"))
        else:
            self._sink.on_head(step.status, step.headers)
