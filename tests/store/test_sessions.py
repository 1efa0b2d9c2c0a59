"""Sessions of browsers and of voice, transcripts and processes, on both databases."""

from __future__ import annotations

import asyncio

import pytest

from switchboard.store import Database
from switchboard.store.processes import Process, Processes
from switchboard.store.transcripts import Source, Transcripts
from switchboard.store.voice_sessions import EndReason, Swept, VoiceSessions
from switchboard.store.web_sessions import WebSession, WebSessions

pytestmark = pytest.mark.anyio


async def _begin(
    voice: VoiceSessions,
    name: str,
    *,
    owner: str = "o",
    user: str = "ann",
    profile: str = "p",
    at: int = 10,
    expires: int = 1000,
    boot: str = "b1",
    lease: int = 500,
) -> bool:
    return await voice.connect(name, owner, user, profile, at=at, expires=expires, boot=boot, lease=lease)


async def test_a_browser_s_session_lasts_until_it_expires(database: Database) -> None:
    sessions = WebSessions(database)
    one = WebSession(b"h1", "ann", '{"name": "Ann"}', "p", 1, 100)
    assert await sessions.add(one)
    assert not await sessions.add(one)
    assert await sessions.get(b"h1", 99) == one
    assert await sessions.get(b"h1", 100) is None
    assert await sessions.get(b"h2", 1) is None
    assert "h1" not in repr(one)


async def test_sessions_of_browsers_are_ended(database: Database) -> None:
    sessions = WebSessions(database)
    for n, owner in enumerate(["ann", "ann", "bob", "eve"]):
        await sessions.add(WebSession(bytes([n]), owner, "{}", "p", 1, 100 * (n + 1)))
    assert await sessions.delete_for("ann") == 2
    assert await sessions.delete(b"\x02")
    assert not await sessions.delete(b"\x02")
    assert await sessions.prune(399) == 0
    assert await sessions.prune(400) == 1


async def test_nobody_takes_over_a_session_of_another(database: Database) -> None:
    voice = VoiceSessions(database)
    assert await _begin(voice, "s")
    assert not await _begin(voice, "s", owner="eve", boot="b2")
    assert not await _begin(voice, "s", profile="q", boot="b2")
    assert await _begin(voice, "s", boot="b2", lease=700)
    found = await voice.get("p", "o", "s")
    assert found is not None and (found.boot, found.lease, found.user, found.status) == ("b2", 700, "ann", "active")
    assert await voice.get("p", "eve", "s") is None
    assert await voice.end("s", 20)
    assert not await voice.end("s", 21)
    assert not await _begin(voice, "s")


async def test_of_many_who_connect_at_once_one_owns_the_session(database: Database) -> None:
    voice = VoiceSessions(database)
    assert (await asyncio.gather(*(_begin(voice, "s", owner=f"o{n}") for n in range(20)))).count(True) == 1


async def test_a_token_opens_a_session_once(database: Database) -> None:
    voice = VoiceSessions(database)
    await _begin(voice, "s")
    assert await voice.add_token(b"t", "s", 100)
    assert not await voice.add_token(b"t", "s", 100)
    assert not await voice.add_token(b"u", "no session", 100)
    assert await voice.use(b"x", 50) is None
    used = await asyncio.gather(*(voice.use(b"t", 50) for _ in range(20)))
    assert [u.id for u in used if u is not None] == ["s"]


async def test_a_token_does_not_open_what_is_over(database: Database) -> None:
    voice = VoiceSessions(database)
    await _begin(voice, "s")
    await voice.add_token(b"late", "s", 100)
    assert await voice.use(b"late", 100) is None
    await voice.add_token(b"ended", "s", 2000)
    assert await voice.use(b"ended", 1000) is None
    await voice.end("s", 60)
    assert await voice.use(b"ended", 61) is None
    assert not await voice.add_token(b"new", "s", 100)


async def test_what_expired_or_lost_its_process_is_marked_once(database: Database) -> None:
    voice = VoiceSessions(database)
    await _begin(voice, "expired", expires=100)
    await _begin(voice, "lost", lease=100, boot="b2")
    await _begin(voice, "alive", lease=100)
    assert await voice.renew("b1", 900) == 2
    assert await voice.sweep(100) == Swept(1, 1)
    assert await voice.sweep(101) == Swept(0, 0)
    reasons = {s.id: (s.status, s.end_reason, s.ended) for s in await voice.list("p")}
    assert reasons == {
        "expired": ("ended", EndReason.EXPIRED, 100),
        "lost": ("ended", EndReason.LOST, 100),
        "alive": ("active", "", None),
    }
    assert await voice.lose(["b2", "b1"], 102) == 1
    assert await voice.lose([], 102) == 0
    assert await voice.prune(102) == 2
    assert [s.id for s in await voice.list("p")] == ["alive"]


async def test_sessions_are_listed_newest_first_and_forgotten(database: Database) -> None:
    voice = VoiceSessions(database)
    transcripts = Transcripts(database)
    for n in range(6):
        user = "ann" if n % 2 else "bob"
        await _begin(voice, f"s{n}", at=n, owner=f"o{n // 3}", user=user)
        assert await transcripts.put(f"s{n}", Source.RELAY, [{"n": n}], n)
    assert [s.id for s in await voice.list("p", limit=2)] == ["s5", "s4"]
    assert [s.id for s in await voice.list("p", owner="o0")] == ["s2", "s1", "s0"]
    assert [s.id for s in await voice.list("p", owner="o0", user="ann")] == ["s1"]
    assert await voice.list("q") == []
    assert not await voice.delete("p", "o1", "s0")
    assert await voice.delete("p", "o0", "s0")
    assert await transcripts.get("s0") == []
    assert [s.id for s in await voice.export("ann")] == ["s1", "s3", "s5"]
    assert await voice.erase("") == 0
    assert await voice.erase("ann") == 3
    assert await voice.erase("o1") == 1
    assert [s.id for s in await voice.list("p")] == ["s2"]
    left = await database.run(lambda db: db.rows("SELECT session FROM transcripts"), write=False)
    assert left == [("s2",)]


async def test_of_a_transcript_the_last_is_kept_whole(database: Database) -> None:
    voice = VoiceSessions(database)
    transcripts = Transcripts(database)
    assert not await transcripts.put("s", Source.POSTED, [], 1)
    await _begin(voice, "s")
    assert await transcripts.put("s", Source.POSTED, [{"role": "user", "content": "\0'"}] * 3, 1)
    assert await transcripts.put("s", Source.POSTED, [{"role": "user", "content": "b"}], 2)
    assert await transcripts.put("s", Source.RELAY, [], 3)
    relay, posted = await transcripts.get("s")
    assert (relay.source, relay.messages, relay.updated) == (Source.RELAY, [], 3)
    assert (posted.source, posted.messages, posted.updated) == (Source.POSTED, [{"role": "user", "content": "b"}], 2)


async def test_processes_are_seen_until_they_fall_silent(database: Database) -> None:
    processes = Processes(database)
    one, two = Process("a", "host", 1, 10, 10), Process("b", "host", 2, 20, 20)
    await processes.beat(one)
    await processes.beat(two)
    await processes.beat(Process("a", "host", 1, 10, 30))
    assert await processes.list() == [Process("a", "host", 1, 10, 30), two]
    assert await processes.silent(30) == ["b"]
    await processes.end("b")
    assert await processes.silent(99) == ["a"]
