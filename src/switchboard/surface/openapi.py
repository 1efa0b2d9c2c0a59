"""The OpenAPI document: FastAPI's own, and the hot endpoints that FastAPI never sees."""

from __future__ import annotations

from typing import Any

import msgspec

from switchboard.dialects._openai_shapes import ChatRequest
from switchboard.dialects.anthropic_messages.shapes import MessagesRequest
from switchboard.surface import openapi_media
from switchboard.surface.operations import error_schema
from switchboard.surface.web_chat import FORMATS

_HELLO = {"messages": [{"role": "user", "content": "Hello there"}]}
_CHUNK = 'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1750000000,"model":"echo","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello "},"logprobs":null,"finish_reason":null}]}\n\n'
_COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1750000000,
    "model": "echo",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello there"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4},
}

_MESSAGES_HELLO = _HELLO | {"model": "echo", "max_tokens": 1024}
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "echo",
    "content": [{"type": "text", "text": "Hello there"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 2, "output_tokens": 2},
}
_MESSAGE_EVENT = 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello "}}\n\n'
_DEEP_CHAT_ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "code": {"type": "string"}, "request_id": {"type": "string"}},
    "required": ["error", "code", "request_id"],
}
_ANTHROPIC_ERROR = {
    "type": "object",
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
            "required": ["type", "message"],
        },
        "request_id": {"type": "string"},
    },
    "required": ["type", "error", "request_id"],
}


def extend(document: dict[str, Any], chat_paths: list[str]) -> dict[str, Any]:
    """Add the hot endpoints and the key to FastAPI's `document`. `chat_paths` are where the web chat is served."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    (chat, messages), components = msgspec.json.schema_components(
        [ChatRequest, MessagesRequest], ref_template="#/components/schemas/{name}"
    )
    schemas.update(components)
    schemas["OpenAIError"] = error_schema(openai=True)
    schemas["Error"] = error_schema(openai=False)
    schemas["AnthropicError"] = _ANTHROPIC_ERROR
    schemas["DeepChatError"] = _DEEP_CHAT_ERROR
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{}, {"key": []}]
    paths = document["paths"]
    for item in paths.values():  # validation errors are 400 here, in our own shape
        for operation in item.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    paths["/v1/chat/completions"] = {"post": _completions(chat)}
    paths["/v1/messages"] = {"post": _messages(messages)}
    paths["/chat"] = {"post": _access_key_chat(chat)}
    schemas.update(openapi_media.schemas())
    for path, operation, error in openapi_media.endpoints():
        paths[path] = {"post": operation | {"responses": _responses((error,), operation["responses"])}}
    for path in chat_paths:
        paths[path] = {"post": _web_chat(chat)}
    return document


def _completions(request: dict[str, Any]) -> dict[str, Any]:
    stream = _HELLO | {"model": "echo", "stream": True}
    return {
        "tags": ["chat"],
        "summary": "OpenAI's chat completions",
        "description": "As OpenAI's own; members that are not named here go to the provider untouched.",
        "operationId": "v1_chat_completions",
        "requestBody": _body(request, {"whole": _HELLO | {"model": "echo"}, "streamed": stream}),
        "responses": _responses(
            ("OpenAIError",), {"application/json": {"example": _COMPLETION}, "text/event-stream": {"example": _CHUNK}}
        ),
    }


def _access_key_chat(request: dict[str, Any]) -> dict[str, Any]:
    schema = {"anyOf": [request, {"type": "object", "properties": {"prompt": {"type": "string"}}}]}
    return {
        "tags": ["access key"],
        "summary": "Chat; `prompt` may stand for `messages`",
        "operationId": "chat",
        "requestBody": _body(schema, {"prompt": {"prompt": "Hello there"}, "streamed": _HELLO | {"stream": True}}),
        "responses": _responses(
            ("Error",), {"application/json": {"example": _COMPLETION}, "text/event-stream": {"example": _CHUNK}}
        ),
    }


def _messages(request: dict[str, Any]) -> dict[str, Any]:
    stream = _MESSAGES_HELLO | {"stream": True}
    return {
        "tags": ["chat"],
        "summary": "Anthropic's Messages",
        "description": "As Anthropic's own, over any provider; to Anthropic itself members go untouched.",
        "operationId": "v1_messages",
        "requestBody": _body(request, {"whole": _MESSAGES_HELLO, "streamed": stream}),
        "responses": _responses(
            ("AnthropicError",),
            {"application/json": {"example": _MESSAGE}, "text/event-stream": {"example": _MESSAGE_EVENT}},
        ),
    }


def _web_chat(request: dict[str, Any]) -> dict[str, Any]:
    simple = 'data: {"content":"Hello ","done":false}\n\ndata: {"content":"","done":true}\n\n'
    ui = {
        "id": "c1",
        "trigger": "submit-message",
        "messages": [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]}],
    }
    examples = {
        "simple": _HELLO,
        "whole": _HELLO | {"stream": False},
        "openai": _HELLO | {"model": "gpt-4o", "max_tokens": 1000},
        "echo test": {"message": "Hello there"},
        "useChat": ui,
        "deep-chat": {"messages": [{"role": "user", "text": "Hello there"}]},
    }
    schema = {"anyOf": [request, {"type": "object"}]}
    return {
        "tags": ["chat"],
        "summary": "Chat, in the format that the frontend was written for",
        "description": f"The formats are {', '.join(FORMATS)}; the setting is `chat.format`.",
        "parameters": [
            {
                "name": "format",
                "in": "query",
                "required": False,
                "description": "The format of this answer.",
                "schema": {"type": "string", "enum": list(FORMATS)},
            }
        ],
        "requestBody": _body(schema, examples),
        "responses": _responses(
            ("Error", "DeepChatError"),
            {
                "application/json": {"example": {"content": "Hello there", "done": True}},
                "text/event-stream": {"example": simple},
                "text/plain": {"example": "Hello there"},
            },
        ),
    }


def _body(schema: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    shown = {name: {"value": value} for name, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": shown}}}


def _responses(errors: tuple[str, ...], content: dict[str, Any]) -> dict[str, Any]:
    """`errors` are the shapes that one may have."""
    shapes = [{"$ref": f"#/components/schemas/{name}"} for name in errors]
    failed = {"application/json": {"schema": shapes[0] if len(shapes) == 1 else {"anyOf": shapes}}}
    meanings = {
        400: "The request is not valid.",
        401: "An access key is needed.",
        403: "This origin is not allowed.",
        404: "There is no such model.",
        413: "The body is too large.",
        415: "The body is of another type.",
        429: "Too many requests.",
        500: "The provider has no key, or something went wrong here.",
        502: "The provider could not be reached, or its answer not be understood.",
        503: "The provider is unavailable.",
        504: "The provider did not answer in time.",
    }
    answers: dict[str, Any] = {"200": {"description": "The answer, whole or as a stream.", "content": content}}
    return answers | {str(s): {"description": text, "content": failed} for s, text in meanings.items()}
