"""What every request gets, whatever it asks: an id, CORS headers, the client's address, and a look at its host."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.client import chat
from support.gateway import gateway
from switchboard.core.types import Envelope, RequestHead
from switchboard.net.address import Networks
from switchboard.surface.envelope import Envelopes
from switchboard.surface.envelope_settings import EnvelopeSettings

LOCAL: dict[bytes, bytes] = {b"host": b"localhost:8000"}


def head(
    headers: dict[bytes, bytes] | None = None,
    *,
    path: str = "/api/chat",
    method: str = "POST",
    peer: str = "127.0.0.1",
    scheme: str = "http",
    query: bytes = b"",
) -> RequestHead:
    return RequestHead(method, path, query, LOCAL | (headers or {}), peer, scheme)


def opened(s: EnvelopeSettings, headers: dict[bytes, bytes] | None = None, **more: Any) -> Envelope:
    return Envelopes(s).open(head(headers, **more))


def lines(e: Envelope) -> dict[str, str]:
    pairs = [line.split(": ", 1) for line in e.headers.decode("latin-1").split("\r\n") if line]
    assert len({k for k, _ in pairs}) == len(pairs)
    return dict(pairs)


def code(e: Envelope) -> str:
    return e.problem.code if e.problem is not None else ""


# ---- request ids


@pytest.mark.parametrize("own", ["a", "A-z_09", "x" * 64, "---", "0"])
def test_a_client_s_id_is_taken_over(own: str) -> None:
    e = opened(EnvelopeSettings(), {b"x-request-id": own.encode()})
    assert e.request_id == own == lines(e)["x-request-id"]


@pytest.mark.parametrize(
    "other", [b"", b"x" * 65, b"a b", b"a.b", b"a\nb", b"a\n", b"a\r\nx: y", b"\xc3\xa4", b"a, b", b"a;b", b"<a>"]
)
def test_any_other_is_not(other: bytes) -> None:
    e = opened(EnvelopeSettings(), {b"x-request-id": other})
    assert e.request_id.encode() != other
    assert len(e.request_id) == 24 and e.request_id.isalnum()


@given(st.binary(max_size=80))
def test_whatever_comes_the_id_is_harmless(sent: bytes) -> None:
    e = opened(EnvelopeSettings(), {b"x-request-id": sent})
    assert 1 <= len(e.request_id) <= 64
    assert all(c.isascii() and (c.isalnum() or c in "-_") for c in e.request_id)


def test_our_own_ids_differ() -> None:
    envelopes = Envelopes(EnvelopeSettings())
    ids = [envelopes.open(head()).request_id for _ in range(5000)]
    assert len(set(ids)) == 5000


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/api/chat", "/health", "/nothing", "/v1/models"])
async def test_the_id_is_on_every_answer(shell: str, path: str) -> None:
    async with gateway(shell) as g:
        body = chat("x") if path == "/api/chat" else None
        a = await g.ask(path, body, {"x-request-id": "mine_1"})
        assert a.headers["x-request-id"] == "mine_1"
        b = await g.ask(path, body, {"x-request-id": "not mine"})
        assert b.headers["x-request-id"] != "not mine"
        assert [r.request_id for r in g.records] == ["mine_1", b.headers["x-request-id"]]


# ---- hosts


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:1", "LOCALHOST", "127.0.0.1", "127.1.2.3:80", "[::1]:8000", "app.localhost", "localhost."],
)
def test_on_loopback_only_loopback_s_names_are_answered_to(host: str) -> None:
    assert code(opened(EnvelopeSettings(), {b"host": host.encode()})) == ""


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil-localhost",
        "10.0.0.1",
        "",
        "[::2]",
        "x@localhost",
    ],
)
def test_any_other_is_refused(host: str) -> None:
    assert code(opened(EnvelopeSettings(), {b"host": host.encode()})) == "UNKNOWN_HOST"
    assert code(opened(EnvelopeSettings(), {b"host": host.encode()}, path="/health/live", method="GET")) == ""


def test_hosts_that_are_set() -> None:
    s = EnvelopeSettings(hosts=frozenset({"chat.example.com"}), loopback=False)
    for host in (b"chat.example.com", b"Chat.Example.COM:443", b"chat.example.com."):
        assert code(opened(s, {b"host": host})) == ""
    for host in (b"example.com", b"xchat.example.com", b"chat.example.com.evil"):
        assert code(opened(s, {b"host": host})) == "UNKNOWN_HOST"
    for host in (b"anything", b""):
        assert code(opened(EnvelopeSettings(loopback=False), {b"host": host})) == ""


def test_loopback_s_names_are_answered_to_besides_the_hosts() -> None:
    """As the setting says: a look from inside the container works whatever `hosts` names."""
    s = EnvelopeSettings(hosts=frozenset({"chat.example.com"}), loopback=False)
    assert code(opened(s, {b"host": b"127.0.0.1:8000"})) == ""


@pytest.mark.anyio
async def test_public_url_names_a_host(shell: str) -> None:
    settings: dict[str, Any] = {
        "host": "0.0.0.0",
        "auth": {"access_key": "k"},
        "public_url": "https://Chat.example.com/x",
    }
    async with gateway(shell, **settings) as g:
        assert (await g.ask("/", None, {"host": "chat.example.com"})).status == 200
        a = await g.ask("/", None, {"host": "evil.example"})
        assert (a.status, a.json["error"]["code"]) == (400, "UNKNOWN_HOST")
        assert (await g.ask("/health", None, {"host": "evil.example"})).status == 200
        # its own pages may ask
        own = {"host": "chat.example.com", "origin": "https://chat.example.com", "authorization": "Bearer k"}
        assert (await g.ask("/api/chat", chat("x", stream=False), own)).status == 200


# ---- origins


ALLOWED = EnvelopeSettings(origins=frozenset({"http://localhost:5173"}))


def test_an_allowed_origin() -> None:
    found = lines(opened(ALLOWED, {b"origin": b"http://localhost:5173"}))
    assert found["access-control-allow-origin"] == "http://localhost:5173"
    assert found["access-control-allow-credentials"] == "true"
    assert found["vary"] == "Origin"
    exposed = found["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "retry-after", "x-switchboard-model", "x-switchboard-dropped"} <= set(exposed)
    assert "x-ratelimit-remaining-requests" in exposed


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example",
        b"null",
        b"http://localhost:51730",
        b"http://localhost:5173.evil.example",
        b"https://localhost:5173",
        b"*",
        b"",
    ],
)
def test_an_origin_that_is_not_allowed(origin: bytes) -> None:
    e = opened(ALLOWED, {b"origin": origin})
    assert not any(k.startswith("access-control") for k in lines(e))
    assert code(e) == "ORIGIN_NOT_ALLOWED"
    seen = opened(ALLOWED, {b"origin": origin}, method="GET")
    assert code(seen) == "" and "access-control-allow-origin" not in lines(seen)


@pytest.mark.parametrize(
    "origin", [b"https://any.example", b"null", b"*", b"http://localhost:8000", b"http://localhost:5173"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_star_never_comes_with_credentials(origin: bytes, method: str) -> None:
    s = EnvelopeSettings(origins=frozenset({"*", "http://localhost:5173"}))
    envelopes = Envelopes(s)
    h = head({b"origin": origin, b"access-control-request-method": b"POST"}, method=method)
    e = envelopes.open(h)
    assert e.problem is None
    for text in (e.headers, envelopes.preflight(h, e) or e.headers):
        assert b"access-control-allow-origin: " in text
        if b"access-control-allow-origin: *\r\n" in text:
            assert b"access-control-allow-credentials" not in text


def test_the_server_s_own_page_on_loopback() -> None:
    assert code(opened(EnvelopeSettings(), {b"origin": b"http://localhost:8000"})) == ""
    for origin in (b"http://localhost:9000", b"file://localhost:8000", b"http://127.0.0.1:8000"):
        assert code(opened(EnvelopeSettings(), {b"origin": origin})) == "ORIGIN_NOT_ALLOWED"
    beyond = EnvelopeSettings(loopback=False)
    assert code(opened(beyond, {b"origin": b"http://localhost:8000"})) == "ORIGIN_NOT_ALLOWED"


def test_preflight() -> None:
    envelopes = Envelopes(ALLOWED)
    asked = {
        b"origin": b"http://localhost:5173",
        b"access-control-request-method": b"PUT",
        b"access-control-request-headers": b"authorization, x-stainless-os",
        b"access-control-request-private-network": b"true",
    }
    h = head(asked, method="OPTIONS")
    found = envelopes.preflight(h, envelopes.open(h))
    assert found is not None
    text = found.decode()
    assert "access-control-allow-headers: authorization, x-stainless-os\r\n" in text
    assert "PUT" in text and "access-control-max-age" in text and "allow-private-network: true" in text
    evil = head(asked | {b"origin": b"https://evil.example"}, method="OPTIONS")
    assert b"access-control-allow" not in (envelopes.preflight(evil, envelopes.open(evil)) or b"")
    for other in (head(asked), head({b"origin": b"http://localhost:5173"}, method="OPTIONS"), head(method="OPTIONS")):
        assert envelopes.preflight(other, envelopes.open(other)) is None


# ---- proxies


BEHIND = EnvelopeSettings(loopback=False, proxies=Networks(["10.0.0.0/8", "fd00::/8"]))


@pytest.mark.parametrize(
    ("peer", "forwarded", "seen"),
    [
        ("10.0.0.1", b"203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", b"203.0.113.5:4711", "203.0.113.5"),
        ("10.0.0.1", b"[2001:db8::5]:4711", "2001:db8::5"),
        ("10.0.0.1", b"2001:db8::5", "2001:db8::5"),
        # what a client says of itself stands before what the proxy added
        ("10.0.0.1", b"1.1.1.1, 203.0.113.5", "203.0.113.5"),
        ("10.0.0.1", b"1.1.1.1, 203.0.113.5, 10.9.9.9", "203.0.113.5"),
        ("10.0.0.1", b"10.2.2.2, 10.9.9.9", "10.2.2.2"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b" , ", "10.0.0.1"),
        ("fd00::1", b"203.0.113.5", "203.0.113.5"),
        # the same proxy, on a socket that serves both families
        ("::ffff:10.0.0.1", b"203.0.113.5", "203.0.113.5"),
        # nobody else is believed
        ("203.0.113.9", b"1.1.1.1", "203.0.113.9"),
        ("11.0.0.1", b"1.1.1.1", "11.0.0.1"),
        ("", b"1.1.1.1", ""),
    ],
)
def test_forwarded_addresses(peer: str, forwarded: bytes, seen: str) -> None:
    assert opened(BEHIND, {b"x-forwarded-for": forwarded}, peer=peer).peer == seen


@given(st.binary(max_size=300).filter(lambda b: b"\n" not in b and b"\r" not in b))
def test_whatever_a_proxy_forwards_does_no_harm(value: bytes) -> None:
    e = opened(BEHIND, {b"x-forwarded-for": value, b"x-forwarded-proto": value}, peer="10.0.0.1")
    assert len(e.peer) <= 64


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("proxies", "caller"), [(["127.0.0.0/8"], "203.0.113.5"), ([], "127.0.0.1"), (["10.0.0.1"], "127.0.0.1")]
)
async def test_who_is_limited_behind_a_proxy(shell: str, proxies: list[str], caller: str) -> None:
    async with gateway(shell, trusted_proxies=proxies) as g:
        await g.ask("/api/chat", chat("x"), {"x-forwarded-for": "1.1.1.1, 203.0.113.5"})
        assert (await g.record()).caller == caller


# ---- https


SECURE = EnvelopeSettings(loopback=False, proxies=Networks(["10.0.0.0/8"]), https=True)


@pytest.mark.parametrize(
    ("peer", "scheme", "proto", "fine"),
    [
        ("10.0.0.1", "http", b"https", True),
        ("10.0.0.1", "http", b"HTTPS", True),
        ("10.0.0.1", "http", b"http, https", True),
        ("10.0.0.1", "http", b"https, http", False),
        ("10.0.0.1", "http", b"http", False),
        ("10.0.0.1", "http", b"", False),
        ("10.0.0.1", "http", b"ws", False),
        ("203.0.113.9", "http", b"https", False),  # anybody can say so
        ("203.0.113.9", "https", b"", True),  # our own TLS
        ("203.0.113.9", "https", b"http", True),
    ],
)
def test_https_required(peer: str, scheme: str, proto: bytes, fine: bool) -> None:
    e = opened(SECURE, {b"x-forwarded-proto": proto}, peer=peer, scheme=scheme)
    assert ("strict-transport-security" in lines(e)) is fine
    assert code(e) == ("" if fine else "HTTPS_REQUIRED")
    if e.problem is not None:
        assert e.problem.status == 308


def test_where_a_plain_request_is_sent() -> None:
    def location(s: EnvelopeSettings, **more: Any) -> str:
        e = opened(s, {b"host": b"chat.example.com"}, **more)
        assert e.problem is not None
        name, _, value = e.problem.headers.decode("latin-1").rstrip("\r\n").partition(": ")
        assert name == "location" and "\r" not in value and "\n" not in value
        return value

    assert location(SECURE, query=b"a=1&b=2") == "https://chat.example.com/api/chat?a=1&b=2"
    assert location(SECURE, path="/a b\r\nx: y").startswith("https://chat.example.com/a%20b%0D%0Ax:%20y")
    public = EnvelopeSettings(loopback=False, https=True, public_url="https://public.example/")
    assert location(public, path="//evil.example/x") == "https://public.example//evil.example/x"
    assert code(opened(SECURE, path="/health/ready", method="GET")) == ""  # probes ask plainly


@pytest.mark.anyio
async def test_https_behind_a_proxy(shell: str) -> None:
    settings: dict[str, Any] = {
        "https": "require",
        "trusted_proxies": ["127.0.0.1"],
        "public_url": "https://chat.example.com",
    }
    async with gateway(shell, **settings) as g:
        host = {"host": "chat.example.com"}
        for path, body in (("/api/chat?x=1", chat("x")), ("/", None), ("/v1/models?x=1", None)):
            plain = await g.ask(path, body, host | {"x-forwarded-proto": "http"})
            assert (plain.status, plain.headers["location"]) == (308, f"https://chat.example.com{path}")
            assert "strict-transport-security" not in plain.headers
            secure = await g.ask(path, body, host | {"x-forwarded-proto": "https"})
            assert secure.status == 200
            assert secure.headers["strict-transport-security"].startswith("max-age=")
        assert (await g.ask("/health", None, host)).status == 200


# ---- traces


PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_trace_is_passed_on() -> None:
    e = opened(EnvelopeSettings(), {b"traceparent": PARENT, b"tracestate": b"a=1,b=2"})
    assert e.trace == b"traceparent: " + PARENT + b"\r\ntracestate: a=1,b=2\r\n"
    assert opened(EnvelopeSettings(), {b"tracestate": b"a=1"}).trace == b""


@pytest.mark.parametrize("parent", [b"", b"x", PARENT + b"\r\nx: y", PARENT.upper(), PARENT[:-1], PARENT + b"0"])
def test_what_is_no_trace_is_not(parent: bytes) -> None:
    assert opened(EnvelopeSettings(), {b"traceparent": parent}).trace == b""


@pytest.mark.parametrize("state", [b"a\r\nx: y", b"x" * 513, b"\xff"])
def test_a_state_that_is_none_is_left_out(state: bytes) -> None:
    e = opened(EnvelopeSettings(), {b"traceparent": PARENT, b"tracestate": state})
    assert e.trace == b"traceparent: " + PARENT + b"\r\n"
