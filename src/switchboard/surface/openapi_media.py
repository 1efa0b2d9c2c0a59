"""The part of the OpenAPI document that describes the hot endpoints besides chats: by path, what each takes and gives."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from switchboard.dialects.openai_completions import CompletionRequest
from switchboard.dialects.openai_embeddings import EmbeddingsRequest
from switchboard.dialects.openai_images import ImagesRequest
from switchboard.dialects.openai_responses.shapes import ResponsesRequest
from switchboard.dialects.openai_speech import SpeechRequest
from switchboard.dialects.openai_transcription import FORMATS
from switchboard.surface.speech import TtsRequest

#: Requests that are JSON, by their names as schemas.
SHAPES: Final = (CompletionRequest, ResponsesRequest, EmbeddingsRequest, ImagesRequest, SpeechRequest, TtsRequest)

_JSON: Final = "application/json"
_SSE: Final = "text/event-stream"
_FORM: Final = "multipart/form-data"
_SOUND: Final[dict[str, Any]] = {"audio/mpeg": {"schema": {"type": "string", "format": "binary"}}}
_COMPLETION: Final = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1750000000,
    "model": "echo",
    "choices": [{"index": 0, "text": "Say it", "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4},
}
_VECTORS: Final = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.12, -0.05]}],
    "model": "hashed-words",
    "usage": {"prompt_tokens": 2, "total_tokens": 2},
}
_IMAGES: Final = {"created": 1750000000, "data": [{"b64_json": "iVBORw0KGgo…"}]}
_TEXT: Final = {"text": "Hello there"}
_RESPONSE: Final = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1750000000,
    "status": "completed",
    "model": "echo",
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello there", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 2, "output_tokens": 2, "total_tokens": 4},
}
_file: Final = {"type": "string", "format": "binary"}
_text: Final = {"type": "string"}


def _form(required: list[str], **properties: Any) -> dict[str, Any]:
    return {_FORM: {"schema": {"type": "object", "properties": properties, "required": required}}}


def _json(shape: type, **examples: Any) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{shape.__name__}"}
    return {_JSON: {"schema": schema, "examples": {n.replace("_", " "): {"value": v} for n, v in examples.items()}}}


def _bodies() -> dict[str, dict[str, Any]]:
    """What each kind of endpoint takes."""
    asked = {"model": "echo", "prompt": "Say it", "max_tokens": 16}
    spoken = {"model": "espeak", "input": "Hello there", "voice": "alloy"}
    audio = {"file": _file, "model": _text, "language": _text, "prompt": _text}
    return {
        "completions": _json(CompletionRequest, whole=asked, streamed=asked | {"stream": True}),
        "responses": _json(ResponsesRequest, whole={"model": "echo", "input": "Hello there"}),
        "embeddings": _json(EmbeddingsRequest, texts={"model": "hashed-words", "input": ["Hello there", "Good day"]}),
        "images": _json(ImagesRequest, one={"prompt": "A cat on a mat"}),
        "edits": _form(["image", "prompt"], image=_file, mask=_file, prompt=_text, model=_text, size=_text),
        "speech": _json(SpeechRequest, mp3=spoken, wav=spoken | {"response_format": "wav"}),
        "tts": _json(TtsRequest, mp3={"text": "Hello, this is a test message.", "voice": "alloy"}),
        "transcriptions": _form(
            ["file"], **audio, response_format={"type": "string", "enum": list(FORMATS)}, stream={"type": "boolean"}
        ),
        "transcribe": _form(["file"], **audio) | {"audio/wav": {"schema": _file}},
    }


#: Path, tag, summary, what it takes, what it gives, the shape of its errors.
_ENDPOINTS: Final[tuple[tuple[str, str, str, str, dict[str, Any], str], ...]] = (
    ("/v1/completions", "text", "OpenAI's completions", "completions", {_JSON: _COMPLETION, _SSE: "data: {…}\n\n"}, "OpenAIError"),
    ("/v1/responses", "text", "OpenAI's responses", "responses", {_JSON: _RESPONSE, _SSE: "event: response.created\n"}, "OpenAIError"),
    ("/v1/embeddings", "embeddings", "OpenAI's embeddings", "embeddings", {_JSON: _VECTORS}, "OpenAIError"),
    ("/v1/images/generations", "images", "Draw", "images", {_JSON: _IMAGES, _SSE: "data: {…}\n\n"}, "OpenAIError"),
    ("/v1/images/edits", "images", "Change images", "edits", {_JSON: _IMAGES, _SSE: "data: {…}\n\n"}, "OpenAIError"),
    ("/v1/audio/speech", "sound", "Text to speech", "speech", _SOUND, "OpenAIError"),
    ("/v1/audio/transcriptions", "sound", "Speech to text", "transcriptions", {_JSON: _TEXT, _SSE: "data: {…}\n\n"}, "OpenAIError"),
    ("/api/tts", "sound", "Text to speech", "tts", _SOUND, "Error"),
    ("/api/transcribe", "sound", "Speech to text", "transcribe", {_JSON: _TEXT}, "Error"),
    ("/completion", "access key", "Completions", "completions", {_JSON: _COMPLETION, _SSE: "data: {…}\n\n"}, "Error"),
    ("/images/generate", "access key", "Draw", "images", {_JSON: _IMAGES}, "Error"),
    ("/embeddings", "access key", "Embeddings", "embeddings", {_JSON: _VECTORS}, "Error"),
)  # fmt: skip


def endpoints() -> list[tuple[str, dict[str, Any], str]]:
    """Path, operation without its errors, and the name of their schema."""
    bodies = _bodies()
    out = []
    for path, tag, summary, body, gives, error in _ENDPOINTS:
        content = gives if gives is _SOUND else {kind: {"example": value} for kind, value in gives.items()}
        operation = {
            "tags": [tag],
            "summary": summary,
            "operationId": path.strip("/").replace("/", "_"),
            "requestBody": {"required": True, "content": bodies[body]},
        }
        out.append((path, operation | {"responses": content}, error))
    return out


def schemas() -> dict[str, Any]:
    """The schemas of the requests."""
    return msgspec.json.schema_components(list(SHAPES), ref_template="#/components/schemas/{name}")[1]
