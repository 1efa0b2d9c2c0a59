"""How each provider is asked: where, with which key, under which headers."""

from __future__ import annotations

from typing import Any, cast

import pytest

from switchboard.core.capabilities import FEATURES
from switchboard.core.ports import Flow, UpstreamSink
from switchboard.core.types import Call, Operation
from switchboard.dialects.anthropic_messages import read_request
from switchboard.providers import kinds
from switchboard.providers.base import HttpProvider, Row

GENERATE = Operation.GENERATE


class Nowhere:
    """A transport that sends nothing."""

    def send(self, call: Call, sink: UpstreamSink) -> Flow:
        raise AssertionError("nothing is to be sent")


def provider(kind: str, **row: Any) -> HttpProvider:
    settings = {"name": kind, "base_url": kinds()[kind].base_url, "keys": ("k1",)} | row
    made = kinds()[kind].make(Row(**settings), cast("Any", Nowhere()))
    assert isinstance(made, HttpProvider)
    return made


def call(p: HttpProvider, model: str = "m1", lines: bytes = b"") -> Call:
    return p.call(p.dialect(GENERATE, "").name, model, b"{}", lines)


def headers(c: Call) -> dict[str, str]:
    assert c.head.endswith(b"\r\n")
    pairs = [(x.split(": ", 1)[0], x.split(": ", 1)[1]) for x in c.head.decode().split("\r\n")[:-1]]
    assert len({n for n, _ in pairs}) == len(pairs), "a header twice"
    return dict(pairs)


def url(c: Call) -> str:
    scheme, host, port = c.origin
    return f"{scheme}://{host}:{port}{c.target.decode()}"


# ---- where


@pytest.mark.parametrize("base_url", ["", "/", "/openai", "/openai/", "/openai/v1", "/openai/v1/"])
@pytest.mark.parametrize("host", ["acme.openai.azure.com", "acme.cognitiveservices.azure.com"])
@pytest.mark.parametrize(
    ("api_version", "expected"),
    [
        (None, "/openai/v1/chat/completions"),
        ("preview", "/openai/v1/chat/completions"),
        ("v1", "/openai/v1/chat/completions"),
        ("2024-10-21", "/openai/deployments/m1/chat/completions?api-version=2024-10-21"),
        ("2025-04-01-preview", "/openai/deployments/m1/chat/completions?api-version=2025-04-01-preview"),
    ],
)
def test_azure(host: str, base_url: str, api_version: str | None, expected: str) -> None:
    p = provider("azure", base_url=f"https://{host}{base_url}", api_version=api_version)
    c = call(p)
    assert url(c) == f"https://{host}:443{expected}"
    assert headers(c)["host"] == host
    assert p.list_models() is None


def test_azure_behind_a_gateway() -> None:
    c = call(provider("azure", base_url="http://gateway.example:8080/azure/openai/v1"))
    assert url(c) == "http://gateway.example:8080/azure/openai/v1/chat/completions"


def test_a_deployment_s_name_stays_one_segment() -> None:
    p = provider("azure", base_url="https://a.openai.azure.com", api_version="2024-10-21")
    assert b"/deployments/a%2Fb%3Fc%20d%23/chat/" in call(p, "a/b?c d#").target


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com:443/v1/messages"),
        ("https://api.anthropic.com/", "https://api.anthropic.com:443/v1/messages"),
        ("https://api.anthropic.com/v1", "https://api.anthropic.com:443/v1/messages"),
        ("https://api.anthropic.com/v1/", "https://api.anthropic.com:443/v1/messages"),
        (
            "https://acme.services.ai.azure.com/anthropic",
            "https://acme.services.ai.azure.com:443/anthropic/v1/messages",
        ),
        ("http://localhost:4000/anthropic/v1", "http://localhost:4000/anthropic/v1/messages"),
        ("http://[::1]:4000", "http://::1:4000/v1/messages"),
    ],
)
def test_anthropic(base_url: str, expected: str) -> None:
    p = provider("anthropic", base_url=base_url)
    assert url(call(p)) == expected
    models = p.list_models()
    assert models is not None and url(models).partition("?")[0] == expected.replace("/messages", "/models")


@pytest.mark.parametrize(
    ("kind", "row", "expected"),
    [
        ("openai", {}, "https://api.openai.com:443/v1/chat/completions"),
        ("huggingface", {}, "https://router.huggingface.co:443/v1/chat/completions"),
        ("compatible", {"base_url": "http://localhost:11434/v1/"}, "http://localhost:11434/v1/chat/completions"),
        ("compatible", {"base_url": "http://localhost:8080"}, "http://localhost:8080/chat/completions"),
    ],
)
def test_those_that_speak_openai_s_wire(kind: str, row: dict[str, Any], expected: str) -> None:
    p = provider(kind, **row)
    assert url(call(p, "owner/model:provider")) == expected
    models = p.list_models()
    assert models is not None
    assert (models.method, url(models)) == (b"GET", expected.replace("/chat/completions", "/models"))


# ---- with which key


@pytest.mark.parametrize(
    ("kind", "row", "line"),
    [
        ("openai", {}, ("authorization", "Bearer k1")),
        ("huggingface", {}, ("authorization", "Bearer k1")),
        ("compatible", {"base_url": "http://x"}, ("authorization", "Bearer k1")),
        ("compatible", {"base_url": "http://x", "keys": ()}, None),
        ("anthropic", {}, ("x-api-key", "k1")),
        ("azure", {"base_url": "https://x"}, ("api-key", "k1")),
        ("azure", {"base_url": "https://x", "key_style": "api-key"}, ("api-key", "k1")),
        ("azure", {"base_url": "https://x", "key_style": "bearer"}, ("authorization", "Bearer k1")),
    ],
)
def test_the_key_s_header(kind: str, row: dict[str, Any], line: tuple[str, str] | None) -> None:
    found = headers(call(provider(kind, **row)))
    carried = {n: found[n] for n in ("authorization", "x-api-key", "api-key") if n in found}
    assert carried == (dict([line]) if line is not None else {})


@pytest.mark.parametrize("kind", ["openai", "azure", "huggingface", "anthropic", "compatible"])
def test_without_a_key(kind: str) -> None:
    p = provider(kind, keys=(), base_url="https://x")
    assert p.configured is (kind == "compatible")
    assert not kinds()[kind].key_needed or not p.configured


def key_of(c: Call) -> str:
    return headers(c)["x-api-key"]


def test_another_key_after_a_refusal() -> None:
    p = provider("anthropic", keys=("k1", "k2", "k3"))
    first = call(p)
    assert p.another_key(first, 1)
    second = call(p)
    assert p.another_key(second, 2)
    third = call(p)
    assert [key_of(c) for c in (first, second, third)] == ["k1", "k2", "k3"]
    assert not p.another_key(third, 3)


def test_a_key_that_works_is_kept() -> None:
    p = provider("anthropic", keys=("k1", "k2"))
    assert p.another_key(call(p), 1)
    assert [key_of(call(p)) for _ in range(3)] == ["k2"] * 3


def test_requests_that_were_refused_together_move_on_once() -> None:
    p = provider("anthropic", keys=("k1", "k2", "k3"))
    together = [call(p) for _ in range(5)]
    for c in together:
        assert p.another_key(c, 1)
    assert key_of(call(p)) == "k2"


def test_one_key_is_all_there_is() -> None:
    for keys in ((), ("k1",)):
        p = provider("compatible", base_url="http://x", keys=keys)
        assert not p.another_key(call(p), 1)
        call(p)


# ---- under which headers


def test_anthropic_s_version() -> None:
    assert headers(call(provider("anthropic")))["anthropic-version"] == "2023-06-01"


def test_a_client_s_own_version_goes_before_ours() -> None:
    body = {"max_tokens": 5, "messages": [{"role": "user", "content": "a"}]}
    sent = {
        b"anthropic-version": b"2026-10-21",
        b"anthropic-beta": b"x-1,y-2",
        b"x-api-key": b"theirs",
        b"cookie": b"c",
    }
    raw = b'{"max_tokens":5,"messages":[{"role":"user","content":"a"}]}'
    native = read_request(body, raw, sent).native
    assert native is not None
    found = headers(call(provider("anthropic"), lines=b"traceparent: 00-1-2-01\r\n" + native.headers))
    assert (found["anthropic-version"], found["anthropic-beta"]) == ("2026-10-21", "x-1,y-2")
    assert (found["x-api-key"], found["traceparent"]) == ("k1", "00-1-2-01")
    assert "cookie" not in found


def test_headers_of_the_settings_go_over_the_provider_s() -> None:
    p = provider("anthropic", headers={"Anthropic-Version": "2099-01-01", "X-Team": "a: b"})
    found = headers(call(p))
    assert (found["anthropic-version"], found["x-team"]) == ("2099-01-01", "a: b")
    assert p.secrets == ("k1", "2099-01-01", "a: b")


def test_a_key_as_a_header_of_the_settings() -> None:
    found = headers(call(provider("anthropic", headers={"authorization": "Bearer t"})))
    assert (found["authorization"], found["x-api-key"]) == ("Bearer t", "k1")
    found = headers(call(provider("openai", headers={"Authorization": "Basic t"})))
    assert found["authorization"] == "Basic t"


def test_no_call_shows_its_key() -> None:
    for kind in ("openai", "anthropic", "azure"):
        assert "k1" not in repr(call(provider(kind, base_url="https://x")))


# ---- what it can do


@pytest.mark.parametrize("kind", kinds())
def test_what_a_row_says_is_lacking(kind: str) -> None:
    if kinds()[kind].network:
        p = provider(kind, base_url="https://x", lacks=frozenset({"images"}))
        assert p.capabilities.lacks == {"images"} <= set(FEATURES)
        assert p.capabilities.openai_like is (kind not in ("anthropic", "azure_speech"))
        assert not type(p).capabilities.lacks, "the rows share it"


def test_which_wire_each_speaks() -> None:
    chatting = [k for k, v in kinds().items() if v.network and v.chats]
    wires = {k: provider(k, base_url="https://x").dialect(GENERATE, "x").name for k in chatting}
    assert wires.pop("anthropic") == "anthropic_messages"
    assert set(wires.values()) == {"openai_chat"}


# ---- secrets for clients


def access(p: Any, model: str = "gpt-realtime") -> Any:
    found = p.for_clients(model)
    assert found is not None
    return found


def test_where_secrets_for_clients_are_asked_for() -> None:
    asked = access(provider("openai")).client_secret(b'{"session": {}}')
    assert asked.method == b"POST" and asked.body == b'{"session": {}}'
    assert url(asked) == "https://api.openai.com:443/v1/realtime/client_secrets"
    assert headers(asked)["authorization"] == "Bearer k1"
    azure = access(provider("azure", base_url="https://acme.openai.azure.com")).client_secret(b"{}")
    assert url(azure) == "https://acme.openai.azure.com:443/openai/v1/realtime/client_secrets"


def test_whose_clients_do_not_converse_by_themselves() -> None:
    local = {"base_url": "http://localhost:8080/v1"}
    dated = provider("azure", base_url="https://acme.openai.azure.com", api_version="2024-10-21")
    beta = provider("openai", realtime_shape="beta")
    for none in (beta, dated, provider("anthropic"), provider("compatible", **local)):
        assert none.for_clients("m") is None
    there = access(provider("compatible", **local, realtime_url="ws://localhost:8080/v1/realtime"))
    assert url(there.client_secret(b"{}")) == "http://localhost:8080/v1/realtime/client_secrets"


# ---- conversations by voice


def test_where_conversations_are_held() -> None:
    """The key is in the head, and nowhere else."""
    made = provider("openai")
    joined = access(made).joined("rtc_1")
    for call, query in ((made.socket("gpt-realtime"), "model=gpt-realtime"), (joined, "call_id=rtc_1")):
        assert call is not None and call.url == f"wss://api.openai.com/v1/realtime?{query}"
        assert b"authorization: Bearer k1\r\n" in call.head and "k1" not in repr(call)


def test_where_calls_are_begun_and_ended() -> None:
    offer = access(provider("openai")).offer("v=0", b'{"model": "gpt-realtime"}')
    assert url(offer) == "https://api.openai.com:443/v1/realtime/calls"
    assert headers(offer)["content-type"].startswith("multipart/form-data; boundary=")
    ended = access(provider("openai")).hang_up("rtc_1")
    assert url(ended) == "https://api.openai.com:443/v1/realtime/calls/rtc_1/hangup"
