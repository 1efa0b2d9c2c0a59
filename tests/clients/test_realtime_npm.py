"""The official ``openai`` SDK for JavaScript, in Node, converses through the relay: with ``ws``, and as in a browser, where the key
comes as a subprotocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from clients.conftest import Line

pytestmark = pytest.mark.xdist_group("clients-node")

#: What is answered to "hello" and "think".
ANSWERS = {
    "aimock": ["Hello! How can I help you today?", "Forty-two."],
    "ga": ["You said: hello.", "You said: think. Before: hello."],
}


@pytest.mark.parametrize("kind", ["ws", "websocket"])
def test_a_conversation_in_text(line: Line, node: Callable[..., dict[str, Any]], kind: str) -> None:
    seen = node("realtime.mjs", kind, line.secure, line.model, "hello", "think", authority=line.authority)
    answers = ANSWERS["aimock" if line.kind == "aimock" else "ga"]
    assert seen["said"] == seen["whole"] == answers, seen
    assert seen["statuses"] == ["completed", "completed"]
    assert seen["closed"][0] == 1000
    assert seen["kinds"][:2] == ["session.created", "session.updated"]
    assert not {"error", "response.text.delta", "conversation.item.created"} & set(seen["kinds"]), seen["kinds"]
    if line.service is not None:
        assert seen["session"]["type"] == "realtime"
        assert seen["session"]["output_modalities"] == ["text"]
        assert seen["session"]["instructions"] == "Be kind."
        assert [r for r in seen["items"] if r == "user"] == ["user", "user"]
        assert line.service.closed[-1] == (1000, "enough")
