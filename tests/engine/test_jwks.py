"""The keys of issuers: fetched, shared, kept, renewed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from support.tokens import AT, CLAIMS, ISS, document, jwk, token
from switchboard.core.errors import Fault, UpstreamError
from switchboard.core.types import Headers
from switchboard.engine.jwks import KeySets, VerifiedTokens, through
from switchboard.net.dial import TcpDialer
from switchboard.net.http import UpstreamPool
from switchboard.net.script import Again, Hang, Request, Reset, Script, ScriptServer, answer
from switchboard.policy.jwk_set import LARGEST
from switchboard.policy.jwt import Issuer, KeyNeeded, Verified, by_iss, verify

pytestmark = pytest.mark.anyio

KEYS = document(jwk())
OTHERS = document(jwk(kid="two", number=1))


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def key_sets(
    script: Script | Callable[[int], Script], changed: list[str] | None = None
) -> AsyncIterator[tuple[KeySets, ScriptServer, Clock]]:
    """Keys that are fetched from a server that plays `script`."""
    clock = Clock()
    async with ScriptServer(script) as up, asyncio.timeout(10):
        pool = UpstreamPool(TcpDialer({}))
        sets = KeySets(through(pool), None if changed is None else changed.append, clock=clock)
        yield sets, up, clock
        await sets.close()
        pool.close()
    assert not [t for t in asyncio.all_tasks() if t.get_name() == "jwks"]


def at(up: ScriptServer, **more: Any) -> Issuer:
    url = up.base_url.removesuffix("/v1")
    return Issuer(**({"name": "login", "issuer": ISS, "audiences": ("app",), "jwks_url": url + "/keys?v=1"} | more))


def asked(up: ScriptServer) -> list[str]:
    """The paths that were asked for."""
    return [r.split(b" ", 2)[1].decode() for c in up.connections for r in c.requests]


def caching(value: str, body: bytes = KEYS, more: str = "") -> Script:
    return [Request(), answer(body, headers=f"cache-control: {value}\r\n{more}"), Again()]


async def test_keys_are_fetched_once_for_all_who_wait() -> None:
    async with key_sets(caching("max-age=600")) as (sets, up, _):
        issuer = at(up)
        assert sets.get(issuer) is None
        found = await asyncio.gather(*[sets.refresh(issuer) for _ in range(50)])
        assert found[0] is not None and all(x is found[0] for x in found)
        assert sets.get(issuer) is found[0] and asked(up) == ["/keys?v=1"]
        assert b"accept: application/json\r\n" in up.connections[0].requests[0]
        assert isinstance(verify(token(), by_iss([issuer]), sets.get, AT), Verified)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ("", 3600),
        ("cache-control: max-age=600\r\n", 600),
        ("cache-control: public, max-age=20000, must-revalidate\r\n", 20000),
        ('cache-control: MAX-AGE="700"\r\n', 700),
        ("cache-control: max-age=1\r\n", 300),
        ("cache-control: max-age=0\r\n", 300),
        ("cache-control: max-age=9999999999\r\n", 86400),
        ("cache-control: max-age=-5\r\n", 3600),
        ("cache-control: max-age=x\r\n", 3600),
        ("cache-control: s-max-age=700, x-max-age=800\r\n", 3600),
        ("cache-control: no-store, max-age=7000\r\n", 300),
        ("cache-control: max-age=1000\r\nage: 400\r\n", 600),
        ("cache-control: max-age=1000\r\nage: 99999\r\n", 300),
        ("cache-control: max-age=1000\r\nage: x\r\n", 1000),
    ],
)
async def test_keys_are_fresh_for_as_long_as_the_issuer_says(headers: str, seconds: float) -> None:
    async with key_sets([Request(), answer(KEYS, headers=headers), Again()]) as (sets, up, clock):
        issuer = at(up)
        await sets.refresh(issuer)
        clock.now += seconds - 0.5
        assert sets.get(issuer) is not None
        clock.now += 1
        assert sets.get(issuer) is None
        assert await sets.refresh(issuer) is not None and len(asked(up)) == 2


async def test_an_unknown_key_has_them_asked_for_once_a_minute() -> None:
    documents = iter([KEYS, OTHERS, OTHERS])
    changed: list[str] = []

    def script(_: int) -> Script:
        return [Request(), answer(next(documents)), Again()]

    async with key_sets(script, changed) as (sets, up, clock):
        issuer = at(up)
        issuers = by_iss([issuer])
        await sets.refresh(issuer)
        new = token(kid="two", number=1)
        assert verify(new, issuers, sets.get, AT) == KeyNeeded(issuer, "two")
        clock.now += 59
        for _ in range(100):  # somebody makes up names of keys
            await sets.refresh(issuer)
        assert len(asked(up)) == 1 and changed == []
        assert isinstance(verify(token(), issuers, sets.get, AT), Verified)
        clock.now += 1
        await asyncio.gather(*[sets.refresh(issuer) for _ in range(100)])
        assert len(asked(up)) == 2 and changed == [ISS]
        assert isinstance(verify(new, issuers, sets.get, AT), Verified)
        assert verify(token(), issuers, sets.get, AT) == KeyNeeded(issuer, "one")  # the old one is gone
        clock.now += 60
        await sets.refresh(issuer)
        assert len(asked(up)) == 3 and changed == [ISS]  # the same keys are no change


CLOSE = "connection: close\r\n"
BROKEN: dict[str, Script] = {
    "an error": [Request(), answer(KEYS, status=500, headers=CLOSE)],
    "a redirect": [Request(), answer(KEYS, status=302, headers=CLOSE + "location: http://169.254.169.254/\r\n")],
    "no JSON": [Request(), answer(b"<html>Canary7Kq9z", headers=CLOSE)],
    "no keys": [Request(), answer(b'{"keys": []}', headers=CLOSE)],
    "another shape": [Request(), answer(b'[{"kid": "Canary7Kq9z"}]', headers=CLOSE)],
    "too large": [Request(), answer(b" " * LARGEST + KEYS, headers=CLOSE)],
    "endless": [Request(), b"HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n" + b" " * (LARGEST + 65536), Hang()],
    "a reset": [Request(), Reset()],
    "cut": [Request(), b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n" + KEYS],
    "no HTTP": [Request(), b"\0\1\2Canary7Kq9z\r\n\r\n"],
}


@pytest.mark.parametrize("name", BROKEN)
async def test_the_last_good_keys_are_kept(name: str, caplog: pytest.LogCaptureFixture) -> None:
    good = [True]
    changed: list[str] = []

    def script(_: int) -> Script:
        return [Request(), answer(KEYS, headers=CLOSE)] if good[0] else BROKEN[name]

    async with key_sets(script, changed) as (sets, up, clock):
        issuer = at(up)
        first = await sets.refresh(issuer)
        assert first is not None and sets.trouble() == {}
        good[0] = False
        clock.now += 3601
        assert sets.get(issuer) is None  # old: to be asked for
        assert await sets.refresh(issuer) is first
        assert sets.get(issuer) is first and list(sets.trouble()) == [ISS]
        fetched = len(up.connections)
        assert await sets.refresh(issuer) is first and len(up.connections) == fetched
        clock.now += 61
        assert sets.get(issuer) is None  # asked again every minute
        good[0] = True
        renewed = await sets.refresh(issuer)
        assert renewed is not None and sets.trouble() == {} and changed == []
        clock.now += 3600
        good[0] = False
        clock.now += 86_401  # but not used for ever
        assert await sets.refresh(issuer) is None and sets.get(issuer) is None
        assert changed == [ISS]
        good[0] = True
        clock.now += 5
        assert await sets.refresh(issuer) is not None
    assert "login" in caplog.text and "Canary7Kq9z" not in caplog.text


async def test_an_issuer_that_never_answered_is_soon_asked_again() -> None:
    good = [False]

    def script(_: int) -> Script:
        return [Request(), answer(KEYS) if good[0] else answer(b"", status=503)]

    async with key_sets(script) as (sets, up, clock):
        issuer = at(up)
        assert await sets.refresh(issuer) is None
        good[0] = True
        assert await sets.refresh(issuer) is None and len(asked(up)) == 1
        clock.now += 5
        assert await sets.refresh(issuer) is not None


async def test_a_waiter_that_leaves_stops_nothing() -> None:
    answers = asyncio.Event()

    async def slow(url: str, *, limit: int, timeout: float) -> tuple[int, Headers, bytes]:
        await answers.wait()
        return 200, {}, KEYS

    sets = KeySets(slow)
    issuer = Issuer(name="x", issuer=ISS, jwks_url="https://issuer.example/keys")
    waiters = [asyncio.create_task(sets.refresh(issuer)) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiters[0]
    answers.set()
    assert await waiters[1] is await waiters[2] is sets.get(issuer) is not None
    await sets.close()


async def test_closing_ends_what_is_being_fetched() -> None:
    async with key_sets([Request(), Hang()]) as (sets, up, _):
        issuer = at(up)
        waiter = asyncio.create_task(sets.refresh(issuer))
        while not asked(up):
            await asyncio.sleep(0.005)
        await sets.close()
        assert await waiter is None
        assert await sets.refresh(issuer) is None and len(asked(up)) == 1
        await sets.close()


@pytest.mark.parametrize(
    "error", [OSError("x"), TimeoutError(), UpstreamError(Fault.DNS), RuntimeError("x"), ValueError("x")]
)
async def test_whatever_the_fetching_raises(error: Exception) -> None:
    async def fails(url: str, *, limit: int, timeout: float) -> tuple[int, Headers, bytes]:
        raise error

    sets = KeySets(fails)
    assert await sets.refresh(Issuer(name="x", issuer=ISS, jwks_url="https://issuer.example/keys")) is None
    assert sets.trouble()
    await sets.close()


def discovery(where: str, iss: str, **more: Any) -> bytes:
    return answer(json.dumps({"issuer": iss, "jwks_uri": where} | more).encode())


async def test_the_keys_are_found_by_discovery() -> None:
    place: dict[str, Any] = {}

    def script(_: int) -> Script:
        return [Request(), discovery(place["jwks"], place["iss"]), Request(), answer(KEYS), Again()]

    for end in ("", "/", "/realms/a", "/realms/a/"):
        async with key_sets(script) as (sets, up, _):
            base = up.base_url.removesuffix("/v1")
            place |= {"iss": base + end, "jwks": base + "/certs"}
            assert await sets.refresh(at(up, issuer=base + end, jwks_url="")) is not None
            assert asked(up) == [end.rstrip("/") + "/.well-known/openid-configuration", "/certs"]


LIES: dict[str, tuple[bytes, str]] = {
    "another issuer": (b'{"issuer": "https://evil.example/", "jwks_uri": "KEYS"}', "another issuer"),
    "no issuer": (b'{"jwks_uri": "KEYS"}', "another issuer"),
    "an issuer with a slash more": (b'{"issuer": "ISSUER/", "jwks_uri": "KEYS"}', "another issuer"),
    "no keys": (b'{"issuer": "ISSUER"}', "where the keys are"),
    "keys that are no text": (b'{"issuer": "ISSUER", "jwks_uri": ["KEYS"]}', "where the keys are"),
    "not JSON": (b"<html>", "not JSON"),
    "a list": (b"[]", "not JSON"),
    "deep": (b"[" * 100_000, "not JSON"),
    "too large": (b" " * LARGEST + b"{}", "too_large"),
}


@pytest.mark.parametrize("name", LIES)
async def test_a_configuration_that_is_not_the_issuers(name: str) -> None:
    body, why = LIES[name]
    place: dict[str, bytes] = {}

    def script(_: int) -> Script:
        told = body.replace(b"ISSUER", place["iss"]).replace(b"KEYS", place["iss"] + b"/keys")
        return [Request(), answer(told), Request(), answer(KEYS)]

    async with key_sets(script) as (sets, up, _):
        place["iss"] = up.base_url.encode()
        issuer = at(up, issuer=up.base_url, jwks_url="")
        assert await sets.refresh(issuer) is None
        assert asked(up) == ["/v1/.well-known/openid-configuration"] and why in sets.trouble()[up.base_url]


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/keys",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "https://",
        "https:///keys",
        "https://user:pass@issuer.example/keys",
        "https://issuer.example/ keys",
        "https://issuer.example/\r\nx: y",
        "https://issuer.example:99999/",
        "https://[::1/",
        "//issuer.example/keys",
        "/keys",
        "",
        "https://issuer.example/" + "x" * 2048,
        "https://issuér.example/",
        7,
        None,
    ],
)
async def test_keys_come_over_tls_or_from_this_machine(url: Any) -> None:
    fetched: list[str] = []

    document = json.dumps({"issuer": ISS, "jwks_uri": url}).encode()

    async def get(url: str, *, limit: int, timeout: float) -> tuple[int, Headers, bytes]:
        fetched.append(url)
        return 200, {}, document

    sets = KeySets(get)
    assert await sets.refresh(Issuer(name="x", issuer=ISS)) is None
    assert fetched == [ISS + ".well-known/openid-configuration"]
    assert "URL" in sets.trouble()[ISS] or "https only" in sets.trouble()[ISS] or "where" in sets.trouble()[ISS]
    if isinstance(url, str) and url:
        assert await sets.refresh(Issuer(name="x", issuer=ISS, jwks_url=url)) is None
    assert len(fetched) == 1
    await sets.close()


def test_a_token_is_believed_for_five_minutes_at_most() -> None:
    known = VerifiedTokens()
    verified = Verified("login", "alice", CLAIMS, AT + 600)
    known.put(b"token", verified, AT)
    assert known.get(b"token", AT + 299) is verified
    assert known.get(b"Token", AT) is None
    assert known.get(b"token", AT + 300) is None and len(known) == 0
    known.put(b"token", verified, AT + 500)
    assert known.get(b"token", AT + 599) is verified
    assert known.get(b"token", AT + 600) is None
    known.put(b"token", verified, AT + 600)  # within its leeway
    assert len(known) == 0
    assert b"token" not in repr(vars(known)).encode()


def test_tokens_are_forgotten() -> None:
    known = VerifiedTokens(3)
    for i in range(5):
        known.put(b"%d" % i, Verified("login", f"user{i}", CLAIMS, AT + 600), AT)
        known.get(b"2", AT)
    assert [i for i in range(5) if known.get(b"%d" % i, AT)] == [2, 3, 4]
    known.put(b"b", Verified("b", "bob", CLAIMS | {"iss": "https://b.example"}, AT + 600), AT)
    known.forget(ISS)
    assert len(known) == 1 and known.get(b"b", AT) is not None
    known.forget()
    assert len(known) == 0
