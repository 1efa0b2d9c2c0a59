"""Schemathesis against the real server: what the OpenAPI document says is what the server does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from support.process import server

#: Every operation that is documented; a new one has to be put here, so that none goes without its test.
OPERATIONS = [
    ("GET", "/health"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/api/status"),
    ("GET", "/metrics"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("POST", "/api/chat"),
    ("POST", "/api/v1/chat"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/embeddings"),
    ("POST", "/chat"),
    ("POST", "/completion"),
    ("POST", "/embeddings"),
    ("GET", "/models"),
    ("GET", "/api/conversations"),
    ("GET", "/api/conversations/{id}"),
    ("DELETE", "/api/conversations/{id}"),
    ("DELETE", "/api/chat/{id}/stream"),
    ("GET", "/api/usage"),
    ("GET", "/api/voice/sessions"),
    ("DELETE", "/api/voice/sessions"),
    ("DELETE", "/api/voice/sessions/{sessionId}"),
    ("POST", "/api/voice/sessions/{sessionId}/end"),
    ("GET", "/api/voice/sessions/{sessionId}/transcript"),
    ("POST", "/api/voice/sessions/{sessionId}/transcript"),
    ("POST", "/v1/realtime/client_secrets"),
    ("DELETE", "/auth/session"),
]
#: What takes files, gives no JSON, lets ten in a minute in, or is a second's work of another process: tried by
#: `tests/faults/test_media_bad_input.py` and `tests/surface/test_access_key_service.py`, `test_voice_sessions.py`, `test_realtime_calls.py`,
#: `tests/shell/test_resumable.py`.
ELSEWHERE = [
    ("POST", "/auth"),
    ("POST", "/auth/session"),
    ("POST", "/api/voice/connect"),
    ("POST", "/v1/realtime/calls"),
    ("GET", "/api/chat/{id}/stream"),
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/images/edits"),
    ("POST", "/v1/audio/speech"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/api/tts"),
    ("POST", "/api/transcribe"),
    ("POST", "/images/generate"),
]
CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
#: Offline models that fail, wait or never end on purpose.
ON_PURPOSE = ("slow", "cut-midstream", "error-", "garbage", "endless", "silent")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    environment = {"SWITCHBOARD_PROVIDERS__OFFLINE__PACE": "0"}
    with server(environment, tmp_path_factory.mktemp("openapi")) as base:
        yield base


@pytest.fixture(scope="module")
def schema(address: str) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


def test_every_operation_is_tried(schema: BaseSchema) -> None:
    found = []
    for operation in schema.get_all_operations():
        assert isinstance(operation, Ok)
        found.append((operation.ok().method.upper(), operation.ok().path))
    assert sorted(found) == sorted(OPERATIONS + ELSEWHERE)


def _harmless(case: schemathesis.Case[Any]) -> bool:
    """Whether a request asks for no failure on purpose, and not for more answers than fit the memory."""
    body = case.body
    if not isinstance(body, dict):
        return True
    model, n = body.get("model"), body.get("n")
    if isinstance(model, str) and model.removeprefix("offline/").startswith(ON_PURPOSE):
        return False
    return not (isinstance(n, int) and n > 128)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        *[(method, path, GenerationMode.POSITIVE) for method, path in OPERATIONS],
        *[(method, path, GenerationMode.NEGATIVE) for method, path in OPERATIONS if method == "POST"],
    ],
)
def test_an_operation(schema: BaseSchema, method: str, path: str, mode: GenerationMode) -> None:
    """Valid requests and ones that break the schema: the answers are as documented, and never a 500."""
    operation = schema[path][method]
    takes_something = bool(operation.body) or bool(operation.path_parameters) or bool(operation.query)
    # an empty ?format= is as good as none, though the document does not list it
    checks = CHECKS if "/chat" in path and path.startswith("/api") else [*CHECKS, negative_data_rejection]
    tried: list[int] = []

    @settings(
        max_examples=40 if takes_something else 3,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode).filter(_harmless))
    def examples(case: schemathesis.Case[Any]) -> None:
        response = case.call(timeout=10)
        tried.append(response.status_code)
        case.validate_response(response, checks=checks)
        assert response.headers["x-request-id"]

    examples()
    assert tried


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_chats_that_keep_to_the_schema_are_answered(schema: BaseSchema, data: st.DataObject) -> None:
    """A message of text in it, and the schema's idea of a valid request is ours as well."""
    operation = schema["/v1/chat/completions"]["POST"]
    case = data.draw(operation.as_strategy(generation_mode=GenerationMode.POSITIVE).filter(_harmless))
    assert isinstance(case.body, dict)
    case.body["messages"] = [{"role": "user", "content": "Hello there"}]
    case.body["model"] = "echo"
    for name in ("max_tokens", "max_completion_tokens", "n"):
        value = case.body.get(name)
        if isinstance(value, int) and value < 1:
            del case.body[name]
    response = case.call(timeout=10)
    assert response.status_code == 200, response.text
