"""The cookie of the page: made, read, forged, found; and requests that other sites make."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.policy.cookies import NAME, NAME_TLS, Signer, clearing, cross_site, sent, setting

SECRET = b"a secret of thirty-two bytes....!"
SIGNER = Signer(SECRET)
OWN = frozenset({"https://chat.example", "http://localhost:8000"})


def test_a_cookie_is_good_until_it_ends() -> None:
    value, stored = SIGNER.issue(1000)
    assert SIGNER.read(value, 999.9) == SIGNER.read(value.encode(), 0) == stored
    assert SIGNER.read(value, 1000) is None
    assert len(stored) == 32 and urlsafe_b64encode(stored)[:20].decode() not in value
    assert SIGNER.issue(1000)[1] != stored


def test_another_process_knows_it_and_another_secret_or_purpose_does_not() -> None:
    value, stored = SIGNER.issue(1000)
    assert Signer(SECRET).read(value, 0) == stored
    assert Signer(SECRET + b"x").read(value, 0) is None
    assert Signer(SECRET, "login").read(value, 0) is None
    with pytest.raises(ValueError, match="16 bytes"):
        Signer(b"short")
    assert "secret of" not in repr(vars(SIGNER))


@pytest.mark.parametrize("expires", [0, -1, 10**12])
def test_times_that_a_cookie_cannot_carry(expires: int) -> None:
    with pytest.raises(ValueError, match="ends"):
        SIGNER.issue(expires)


def test_nothing_of_it_can_be_changed() -> None:
    value, _ = SIGNER.issue(1000)
    version, name, _, mac = value.split(".")
    other = SIGNER.issue(9000)[0].split(".")
    plain = urlsafe_b64encode(hashlib.sha256(f"v1.{name}.9999".encode()).digest()).decode().rstrip("=")
    for forged in [
        f"{version}.{name}.9999.{mac}",
        f"{version}.{name}.01000.{mac}",
        f"{version}.{name}.+1000.{mac}",
        f"{version}.{name}.1_000.{mac}",
        f"{version}.{name}.１０００.{mac}",
        f"{version}.{other[1]}.1000.{mac}",
        f"{version}.{name}.{other[2]}.{mac}",
        f"{version}.{name}.1000.{other[3]}",
        f"{version}.{name}.1000.",
        f"{version}.{name}.1000",
        f"{version}.{name}.9999.{plain}",
        f"v2.{name}.1000.{mac}",
        f"{version}.{name}.1000.{mac}=",
        f"{version}.{name}.1000.{mac}\n",
        f" {value}",
        f'"{value}"',
        value.upper(),
        value.replace(".", ".."),
        value + value,
        "",
        "...",
        "v1." + "A" * 1_000_000,
        "v1.\ud800..",
    ]:
        assert SIGNER.read(forged, 0) is None, forged
    for i in range(len(value)):
        assert SIGNER.read(value[:i], 0) is None
        assert SIGNER.read(value[:i] + ("A" if value[i] != "A" else "B") + value[i + 1 :], 0) is None


@settings(deadline=None)
@given(st.text(max_size=300) | st.binary(max_size=300))
def test_anything_else_is_none(value: str | bytes) -> None:
    assert SIGNER.read(value, 0) is None


def test_how_it_is_set() -> None:
    value, _ = SIGNER.issue(1000)
    more = f"{value}; Path=/; Max-Age=600; HttpOnly; SameSite=Lax"
    assert setting(value, 600, tls=False) == f"set-cookie: {NAME}={more}\r\n".encode()
    assert setting(value, 600, tls=True) == f"set-cookie: {NAME_TLS}={more}; Secure\r\n".encode()
    assert b"Max-Age=0;" in setting(value, -5, tls=True)
    assert b"omain" not in setting(value, 600, tls=True)  # browsers refuse __Host- with one
    gone = f"set-cookie: {NAME_TLS}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure\r\n"
    assert clearing(tls=True) == gone.encode()
    assert clearing(tls=False).startswith(b"set-cookie: switchboard_session=; ")


@pytest.mark.parametrize(
    "more", ["\r\nset-cookie: a=b", "\n", "\r", "\0", "; Domain=evil.example", ",a=b", " ", "é", "\u560a"]
)
def test_nothing_can_be_put_into_the_header(more: str) -> None:
    value, _ = SIGNER.issue(1000)
    for text in (value + more, more + value, value[:10] + more + value[10:], more):
        with pytest.raises(ValueError, match="not a value"):
            setting(text, 600, tls=True)


def test_it_is_found_in_a_header() -> None:
    a, b = (SIGNER.issue(1000)[0] for _ in range(2))
    for header, expected in [
        (f"{NAME}={a}", a),
        (f"x=1; {NAME}={a}; y=2", a),
        (f"x=1;{NAME}={a};y", a),
        (f"\t {NAME} = {a} \t", a),
        (f'{NAME}="{a}"', a),
        (f"{NAME}={a}; {NAME}={a}", a),
        (f'{NAME}={a}; {NAME}="{a}"', a),
        (f"{NAME}=garbage; {NAME}={a}", a),
        (f"{NAME}=; {NAME}={a}; {NAME}", a),
        (f"{NAME}={a}; {NAME}={b}", None),  # neither
        (f"{NAME}={b}; x=1; {NAME}={a}", None),
        (f"{NAME.upper()}={a}", None),
        (f"x{NAME}={a}", None),
        (f"{NAME}x={a}", None),
        (f"{NAME_TLS}={a}", None),
        (f'{NAME}=""{a}""', None),
        (f'{NAME}="{a}', None),
        (f'x="; {NAME}={a}"', None),
        (f"{NAME}={a}=", None),
        (f"{NAME}={a},x=1", None),
        ("", None),
        (";;;===;", None),
        (NAME, None),
    ]:
        assert sent(header.encode(), tls=False) == (expected.encode() if expected else None), header
    both = f"{NAME}={b}; {NAME_TLS}={a}".encode()
    assert sent(both, tls=True) == a.encode() and sent(both, tls=False) == b.encode()


@settings(deadline=None)
@given(st.binary(max_size=400), st.booleans())
def test_any_header_is_read(header: bytes, tls: bool) -> None:
    assert sent(header, tls=tls) is None
    named = (NAME_TLS if tls else NAME).encode() + b"=" + header
    found = sent(named, tls=tls)
    assert found is None or SIGNER.read(found, 0) is None


SAME, NONE, SITE, CROSS = ({b"sec-fetch-site": x} for x in (b"same-origin", b"none", b"same-site", b"cross-site"))
OURS, THEIRS, NULL = ({b"origin": x} for x in (b"https://chat.example", b"https://evil.example", b"null"))
GOES = {b"sec-fetch-mode": b"navigate", b"sec-fetch-dest": b"document"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PURGE", "post", ""])
def test_what_changes_something_comes_from_here(method: str) -> None:
    for headers, refused in [
        (OURS, False),
        ({b"origin": b"http://localhost:8000"}, False),
        (SAME, False),
        (NONE, False),
        (OURS | CROSS, False),  # a page that is allowed to
        (SAME | NULL, False),  # a page without referrers posts a form to itself
        ({}, True),
        ({b"referer": b"https://chat.example/"}, True),
        (THEIRS, True),
        (NULL, True),
        (CROSS, True),
        (SITE, True),
        (CROSS | GOES, True),  # a form on another site
        (SITE | GOES, True),
        (THEIRS | CROSS, True),
        (NULL | CROSS, True),
        ({b"origin": b""}, True),
        ({b"origin": b"https://chat.example.evil.example"}, True),
        ({b"origin": b"http://chat.example"}, True),
        ({b"origin": b"https://chat.example:444"}, True),
        ({b"origin": b"https://chat.example, https://evil.example"}, True),
        ({b"origin": b"\xff"}, True),
        ({b"sec-fetch-site": b"same-origin, cross-site"}, True),
        ({b"sec-fetch-site": b"SAME-ORIGIN"}, True),
        ({b"sec-fetch-site": b""}, True),
    ]:
        assert cross_site(headers, method, OWN) is refused, headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_what_only_reads(method: str) -> None:
    for headers, refused in [
        ({}, False),
        (SAME, False),
        (SITE, False),
        (NONE, False),
        (CROSS | GOES, False),  # a link that is followed
        (CROSS | OURS, False),
        (CROSS, True),
        (CROSS | {b"sec-fetch-mode": b"no-cors", b"sec-fetch-dest": b"image"}, True),
        (CROSS | {b"sec-fetch-mode": b"navigate"}, True),
        (CROSS | {b"sec-fetch-mode": b"navigate", b"sec-fetch-dest": b"iframe"}, True),
        (CROSS | {b"sec-fetch-mode": b"navigate", b"sec-fetch-dest": b"object"}, True),
        (CROSS | {b"sec-fetch-mode": b"websocket", b"sec-fetch-dest": b"websocket"}, True),
        (CROSS | THEIRS, True),
        ({b"sec-fetch-site": b"something-new"}, True),
    ]:
        assert cross_site(headers, method, OWN) is refused, headers


def test_a_star_or_null_among_the_origins_allows_nobody() -> None:
    for origin in (b"*", b"null", b"https://evil.example"):
        assert cross_site({b"origin": origin}, "POST", frozenset({"*", "null"}))
