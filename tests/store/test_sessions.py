"""Sessions of browsers and of voice, and transcripts, on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from switchboard.store import Database
from switchboard.store.tickets import TicketRow, Tickets, insert
from switchboard.store.transcripts import Source, Transcripts
from switchboard.store.voice_sessions import EndReason, Heard, Over, Swept, VoiceSession, VoiceSessions
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
) -> bool:
    return await voice.connect(name, owner, user, profile, at=at, expires=expires)


async def _carry(database: Database, name: str, boot: str = "b1", *, lease: int = 500, at: int = 10) -> bool:
    """Have the process `boot` carry a session, by a ticket of its own."""
    digest = f"{name} {boot} {at}".encode()
    row = TicketRow(digest, name, "p", "o", "ann", "", "{}", "{}", 1000, True)
    await database.run(lambda db: insert(db, row), write=True)
    return await Tickets(database).redeem(digest, "p", at, boot, f"{name} of {boot}", lease) is not None


def _of(boot: str, *names: str) -> list[tuple[str, str]]:
    """Sessions and their conversations in the process `boot`."""
    return [(name, f"{name} of {boot}") for name in names]


async def _put_heard(database: Database, name: str, messages: list[dict[str, Any]], at: int, created: int = 10) -> None:
    heard = [Heard(name, created, f"{name} of b1", messages)]
    assert await VoiceSessions(database).tend("b1", [], at, heard=heard) == {}


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
    assert not await _begin(voice, "s", owner="eve")
    assert not await _begin(voice, "s", profile="q")
    found = await voice.get("p", "o", "s")
    assert found is not None and (found.boot, found.lease, found.user, found.status) == ("", 1000, "ann", "active")
    assert await voice.get("p", "eve", "s") is None
    assert await voice.get("q", "o", "s") is None
    assert not await voice.end("p", "eve", "s", 20)
    assert not await voice.end("q", "o", "s", 20)
    assert not await voice.delete("p", "eve", "s")
    assert await voice.delete_all("p", "eve") == []
    assert await voice.end("p", "o", "s", 20)
    assert await voice.end("p", "o", "s", 21)
    found = await voice.get("p", "o", "s")
    assert found is not None and (found.status, found.ended, found.end_reason) == ("ended", 20, "ended")


async def test_one_s_own_session_is_made_active_again(database: Database) -> None:
    voice, transcripts = VoiceSessions(database), Transcripts(database)
    await _begin(voice, "s", at=10, expires=100)
    assert await _carry(database, "s")
    await _put_heard(database, "s", [{"n": 1}], 11)
    await voice.end("p", "o", "s", 20)
    assert not await _begin(voice, "s", owner="eve", at=21)
    assert await _begin(voice, "s", at=30, expires=900)
    again = VoiceSession("s", "o", "ann", "p", "active", 10, 900, None, "", "", "", 900)
    assert await voice.get("p", "o", "s") == again
    assert [t.messages for t in await transcripts.get("s")] == [[{"n": 1}]]


async def test_of_many_who_connect_at_once_one_owns_the_session(database: Database) -> None:
    voice = VoiceSessions(database)
    assert (await asyncio.gather(*(_begin(voice, "s", owner=f"o{n}") for n in range(20)))).count(True) == 1


async def test_what_expired_or_lost_its_process_is_marked_once(database: Database) -> None:
    voice = VoiceSessions(database)
    await _begin(voice, "expired", expires=100)
    for name, boot in (("lost", "b2"), ("alive", "b1")):
        await _begin(voice, name)
        assert await _carry(database, name, boot, lease=100)
    await _begin(voice, "waits")  # nobody has opened it yet
    assert await voice.sweep(99) == Swept(0, 0)
    assert await voice.tend("b1", _of("b1", "alive"), 99, lease=900) == {}
    assert await voice.sweep(100) == Swept(1, 1)
    assert await voice.sweep(101) == Swept(0, 0)
    reasons = {s.id: (s.status, s.end_reason, s.ended) for s in await voice.list("p")}
    assert reasons == {
        "expired": ("ended", EndReason.EXPIRED, 100),
        "lost": ("ended", EndReason.LOST, 100),
        "alive": ("active", "", None),
        "waits": ("active", "", None),
    }
    assert await voice.prune(100) == 0
    assert await voice.prune(101) == 2
    assert {s.id for s in await voice.list("p")} == {"alive", "waits"}


async def test_a_process_hears_what_it_does_not_carry_any_more(database: Database) -> None:
    voice = VoiceSessions(database)
    names = ["alive", "ended", "deleted", "elsewhere", "again", "lost", "other"]
    for name in names:
        await _begin(voice, name)
        assert await _carry(database, name, "b2" if name == "other" else "b1", lease=40 if name == "lost" else 500)
    await _begin(voice, "expired", expires=60)
    assert await _carry(database, "expired")
    await voice.end("p", "o", "ended", 20)
    await voice.delete("p", "o", "deleted")
    await _begin(voice, "elsewhere")
    assert await _carry(database, "elsewhere", "b3")
    await _begin(voice, "again")
    assert await voice.sweep(50) == Swept(0, 1)
    mine = _of("b1", *[n for n in (*names, "expired") if n != "other"])
    told = {
        "ended of b1": EndReason.ENDED,
        "deleted of b1": EndReason.DELETED,
        "elsewhere of b1": EndReason.REPLACED,
        "again of b1": EndReason.REPLACED,
        "lost of b1": EndReason.LOST,
        "expired of b1": EndReason.EXPIRED,
    }
    assert await voice.tend("b1", mine, 60) == told
    assert await voice.tend("b1", mine, 60, lease=700) == told
    # the same process, another conversation
    row = TicketRow(b"next", "alive", "p", "o", "ann", "", "{}", "{}", 1000, True)
    await database.run(lambda db: insert(db, row), write=True)
    assert await Tickets(database).redeem(b"next", "p", 60, "b1", "next", 700) is not None
    assert await voice.tend("b1", _of("b1", "alive"), 60, lease=800) == {"alive of b1": EndReason.REPLACED}
    assert await voice.tend("b1", [("alive", "next")], 60) == {}
    leases = {s.id: (s.boot, s.lease) for s in await voice.list("p") if s.status == "active"}
    assert leases == {
        "alive": ("b1", 700),
        "elsewhere": ("b3", 500),
        "again": ("", 1000),
        "other": ("b2", 500),
        "expired": ("b1", 500),
    }
    assert await voice.tend("b1", [], 60) == {}


async def test_a_process_writes_only_into_what_it_carries(database: Database) -> None:
    voice, transcripts = VoiceSessions(database), Transcripts(database)
    names = ["mine", "over", "ended", "again", "elsewhere", "anew"]
    for name in names:
        await _begin(voice, name)
        assert await _carry(database, name)
    await voice.end("p", "o", "ended", 20)
    await _begin(voice, "again", at=21)
    await _begin(voice, "elsewhere", at=21)
    assert await _carry(database, "elsewhere", "b2")
    await voice.delete("p", "o", "anew")
    await _begin(voice, "anew", at=22)  # of the same name, but another one
    heard = [Heard(name, 10, carrier, [{"of": name}]) for name, carrier in _of("b1", *names, "nonesuch")]
    parted = _of("b1", "over", "ended", "again", "elsewhere", "nonesuch")
    over = [Over(name, carrier, EndReason.EXPIRED) for name, carrier in parted]
    assert await voice.tend("b1", _of("b1", "mine"), 30, lease=600, heard=heard, over=over) == {}
    kept = {name: [t.messages for t in await transcripts.get(name)] for name in names}
    assert kept == {n: [[{"of": n}]] if n in ("mine", "over", "ended", "again") else [] for n in names}
    assert [t.source for t in await transcripts.get("mine")] == [Source.RELAY]
    ended = {s.id: (s.ended, s.end_reason) for s in await voice.list("p") if s.status == "ended"}
    assert ended == {"over": (30, "expired"), "ended": (20, "ended")}


async def test_who_opens_a_session_is_told_what_was_heard(database: Database) -> None:
    voice = VoiceSessions(database)
    row = TicketRow(b"t", "s", "p", "o", "ann", "", "{}", "{}", 1000, True)
    await voice.connect("s", "o", "ann", "p", at=10, expires=1000, ticket=row)
    assert await voice.opened(row) == (await voice.get("p", "o", "s"), [])
    await _put_heard(database, "s", [{"content": "Hello"}], 11)
    assert await voice.opened(row) == (await voice.get("p", "o", "s"), [{"content": "Hello"}])
    await voice.delete("p", "o", "s")
    assert await voice.opened(row) is None


async def test_sessions_that_are_carried_are_counted(database: Database) -> None:
    voice = VoiceSessions(database)
    for name in ("a", "b", "c", "d", "waits"):
        await _begin(voice, name, expires=100 if name == "d" else 1000)
    await _begin(voice, "theirs", owner="eve")
    for name in ("a", "b", "c", "d", "theirs"):
        assert await _carry(database, name, lease=40 if name == "b" else 500)
    await voice.end("p", "o", "c", 20)
    assert await voice.carried("p", "o", "", 30) == 3
    assert await voice.carried("p", "o", "a", 30) == 2
    assert await voice.carried("p", "o", "a", 40) == 1  # nobody answers for b any more
    assert await voice.carried("p", "o", "a", 100) == 0
    assert await voice.carried("q", "o", "", 30) == 0


async def test_sessions_are_listed_newest_first_and_forgotten(database: Database) -> None:
    voice = VoiceSessions(database)
    transcripts = Transcripts(database)
    for n in range(6):
        user = "ann" if n % 2 else "bob"
        await _begin(voice, f"s{n}", at=n, owner=f"o{n // 3}", user=user)
        assert await transcripts.put("p", f"o{n // 3}", f"s{n}", [{"n": n}], n)
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


async def test_all_sessions_of_an_owner_are_forgotten(database: Database) -> None:
    voice = VoiceSessions(database)
    for n, (owner, user) in enumerate([("o", "ann"), ("o", "bob"), ("o", "ann"), ("p", "ann")]):
        await _begin(voice, f"s{n}", owner=owner, user=user)
    assert await voice.delete_all("q", "o") == []
    assert sorted(await voice.delete_all("p", "o", "ann")) == ["s0", "s2"]
    assert await voice.delete_all("p", "o") == ["s1"]
    assert [s.id for s in await voice.list("p")] == ["s3"]


async def test_of_a_transcript_the_last_is_kept_whole(database: Database) -> None:
    voice = VoiceSessions(database)
    transcripts = Transcripts(database)
    assert not await transcripts.put("p", "o", "s", [], 1)
    await _begin(voice, "s")
    assert not await transcripts.put("p", "eve", "s", [], 1)
    assert not await transcripts.put("q", "o", "s", [], 1)
    assert await transcripts.put("p", "o", "s", [{"role": "user", "content": "\0'"}] * 3, 1)
    assert await transcripts.put("p", "o", "s", [{"role": "user", "content": "b"}], 2)
    await _put_heard(database, "s", [], 3)
    relay, posted = await transcripts.get("s")
    assert (relay.source, relay.messages, relay.updated) == (Source.RELAY, [], 3)
    assert (posted.source, posted.messages, posted.updated) == (Source.POSTED, [{"role": "user", "content": "b"}], 2)
