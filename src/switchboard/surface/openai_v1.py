"""``/v1``: OpenAI's own surface, for clients whose base URL is all that changes."""

from __future__ import annotations

from typing import Any, Final

from switchboard.core.errors import Problem
from switchboard.core.masking import spellings
from switchboard.core.ports import ClientDialect, Surface
from switchboard.core.types import Form, Lines, Op, RequestHead
from switchboard.dialects import (
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_images,
    openai_responses,
    openai_speech,
    openai_transcription,
)
from switchboard.surface import problem as shapes
from switchboard.surface.json_surface import JsonSurface

_CHAT: Final = openai_chat.OpenAIChat()


class _V1(JsonSurface):
    """One path of ``/v1`` whose requests are JSON. `secrets` never show."""

    name = "openai_v1"
    documents = False

    def __init__(self, *, nesting: int, secrets: tuple[str, ...] = ()) -> None:
        super().__init__(nesting=nesting)
        self._secrets = spellings(secrets)

    def problem(self, problem: Problem, request_id: str, dialect: ClientDialect | None) -> tuple[int, Lines, bytes]:
        """See `core.ports.Surface`."""
        return shapes.openai(problem, request_id, self._secrets)


class _V1Files(_V1):
    """One path of ``/v1`` whose requests are forms with files."""

    files = True

    def read(self, head: RequestHead, body: bytes | Form) -> tuple[ClientDialect, Op]:
        """See `core.ports.Surface`."""
        assert isinstance(body, Form)
        return self.ask_form(body)

    def ask_form(self, form: Form) -> tuple[ClientDialect, Op]:
        """The dialect of the answer, and what `form` asks for. Raises `Problem`."""
        raise NotImplementedError


class ChatCompletions(_V1):
    """``POST /v1/chat/completions``."""

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        return _CHAT, openai_chat.read_request(value, body)


class Completions(_V1):
    """``POST /v1/completions``."""

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        return openai_completions.read_request(value, body)


class Responses(_V1):
    """``POST /v1/responses``."""

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        op = openai_responses.read_request(value, body)
        assert op.native is not None
        return openai_responses.OpenAIResponses(op.native.members), op


class Embeddings(_V1):
    """``POST /v1/embeddings``."""

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        op = openai_embeddings.read_request(value, body)
        return openai_embeddings.OpenAIEmbeddings(op.base64), op


class Images(_V1):
    """``POST /v1/images/generations``."""

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        op = openai_images.read_request(value, body)
        return openai_images.OpenAIImages(op.addresses), op


class ImageEdits(_V1Files):
    """``POST /v1/images/edits``."""

    def ask_form(self, form: Form) -> tuple[ClientDialect, Op]:
        """See `_V1Files`."""
        op = openai_images.read_form(form)
        return openai_images.OpenAIImageEdits(op.addresses), op


class Speech(_V1):
    """``POST /v1/audio/speech``."""

    def ask(self, head: RequestHead, value: Any, body: bytes) -> tuple[ClientDialect, Op]:
        """See `JsonSurface`."""
        op = openai_speech.read_request(value, body)
        return openai_speech.OpenAISpeechEvents() if op.events else openai_speech.OpenAISpeech(op.format), op


class Transcription(_V1Files):
    """``POST /v1/audio/transcriptions``."""

    def ask_form(self, form: Form) -> tuple[ClientDialect, Op]:
        """See `_V1Files`."""
        op = openai_transcription.read_form(form)
        return openai_transcription.OpenAITranscription(op), op


def surfaces(*, nesting: int, secrets: tuple[str, ...] = ()) -> dict[str, Surface]:
    """The surfaces by path. `nesting` is how deep a body may be; `secrets` never show."""
    made: dict[str, type[_V1]] = {
        "/v1/chat/completions": ChatCompletions,
        "/v1/completions": Completions,
        "/v1/responses": Responses,
        "/v1/embeddings": Embeddings,
        "/v1/images/generations": Images,
        "/v1/images/edits": ImageEdits,
        "/v1/audio/speech": Speech,
        "/v1/audio/transcriptions": Transcription,
    }
    return {path: surface(nesting=nesting, secrets=secrets) for path, surface in made.items()}
