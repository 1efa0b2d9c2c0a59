"""Tickets, on both databases."""

from __future__ import annotations

import asyncio

import pytest

from switchboard.store import Database
from switchboard.store.keys import ApiKey, Keys
from switchboard.store.tickets import TicketRow, Tickets
from switchboard.store.voice_sessions import Swept, VoiceSessions

pytestmark = pytest.mark.anyio


def ticket(digest: bytes = b"t", session: str | None = None, *, once: bool = False, **more: str) -> TicketRow:
    row = {"profile": "p", "owner": "o", "user": "ann", "api_key": "", "caller": '{"id":"o"}', "fields": "{}"} | more
    return TicketRow(digest, session, expires=100, once=once, **row)


async def open_session(database: Database, name: str = "s", digest: bytes = b"t", expires: int = 1000) -> None:
    row = ticket(digest, name, once=True)
    assert await VoiceSessions(database).connect(name, "o", "ann", "p", at=10, expires=expires, ticket=row)


async def test_a_ticket_is_good_until_it_expires(database: Database) -> None:
    tickets = Tickets(database)
    one = ticket(fields='{"voice":"alloy"}')
    assert await tickets.add(one, 50, 9)
    assert await tickets.redeem(b"t", "p", 50, "b", "c", 60) == one
    assert await tickets.redeem(b"t", "p", 99, "b", "c", 60) == one  # again and again
    assert await tickets.redeem(b"t", "p", 100, "b", "c", 160) is None
    assert await tickets.redeem(b"u", "p", 50, "b", "c", 60) is None
    assert await tickets.redeem(b"t", "q", 50, "b", "c", 60) is None
    assert "alloy" not in repr(one)


async def test_a_ticket_that_is_good_once_opens_its_session_once(database: Database) -> None:
    voice, tickets = VoiceSessions(database), Tickets(database)
    await open_session(database)
    used = await tickets.redeem(b"t", "p", 50, "b1", "c", 60)
    assert used is not None and used.session == "s"
    found = await voice.get("p", "o", "s")
    assert found is not None and (found.boot, found.carrier, found.lease) == ("b1", "c", 60)
    assert await tickets.redeem(b"t", "p", 51, "b2", "c", 61) is None
    assert await voice.get("p", "o", "s") == found


async def test_of_fifty_uses_at_once_one_gets_it(url: str) -> None:
    databases = [Database.open(url) for _ in range(3)]
    for d in databases:
        d.start()
    try:
        assert all([await d.wait_ready(10) for d in databases])
        for n in range(5):
            await open_session(databases[0], f"s{n}", f"t{n}".encode())
            using = [Tickets(databases[i % 3]).redeem(f"t{n}".encode(), "p", 50, f"b{i}", "c", 60) for i in range(50)]
            used = await asyncio.gather(*using)
            winners = [f"b{i}" for i, u in enumerate(used) if u is not None]
            assert len(winners) == 1
            found = await VoiceSessions(databases[1]).get("p", "o", f"s{n}")
            assert found is not None and found.boot == winners[0]
    finally:
        for d in databases:
            await d.close()


async def test_uses_and_connects_at_once_leave_one_good_ticket(url: str) -> None:
    databases = [Database.open(url) for _ in range(2)]
    for d in databases:
        d.start()
    try:
        assert all([await d.wait_ready(10) for d in databases])
        await open_session(databases[0], digest=b"t0")
        begun = [open_session(databases[n % 2], digest=f"t{n}".encode()) for n in range(1, 20)]
        used = [Tickets(databases[n % 2]).redeem(f"t{n}".encode(), "p", 50, "b", "c", 60) for n in range(20)]
        await asyncio.gather(*begun, *used)
        rows = await databases[0].run(lambda db: db.rows("SELECT hash FROM tickets"), write=False)
        assert len(rows) == 1
    finally:
        for d in databases:
            await d.close()


async def test_a_ticket_does_not_open_what_is_over(database: Database) -> None:
    voice, tickets = VoiceSessions(database), Tickets(database)
    await open_session(database, "ended", b"ended")
    await voice.end("p", "o", "ended", 40)
    await open_session(database, "expired", b"expired", expires=45)
    await open_session(database, "deleted", b"deleted")
    await voice.delete("p", "o", "deleted")
    for name in (b"ended", b"expired", b"deleted"):
        assert await tickets.redeem(name, "p", 50, "b", "c", 60) is None


async def test_to_connect_again_makes_older_tickets_void(database: Database) -> None:
    tickets = Tickets(database)
    await open_session(database, digest=b"old")
    await open_session(database, digest=b"new")
    assert await tickets.redeem(b"old", "p", 50, "b", "c", 60) is None
    assert await tickets.redeem(b"new", "p", 50, "b", "c", 60) is not None
    # somebody else's try takes nothing away
    await open_session(database, "mine", b"mine")
    theirs = ticket(b"theirs", "mine", owner="eve")
    assert not await VoiceSessions(database).connect("mine", "eve", "", "p", at=20, expires=99, ticket=theirs)
    assert await tickets.redeem(b"theirs", "p", 50, "b", "c", 60) is None
    assert await tickets.redeem(b"mine", "p", 50, "b", "c", 60) is not None


async def test_a_ticket_goes_with_the_key_that_it_was_asked_for_with(database: Database) -> None:
    keys, tickets = Keys(database), Tickets(database)
    for name, expires in (("good", None), ("revoked", None), ("expires", 60)):
        await keys.add(ApiKey(name, name.encode(), name, "p", 1, expires))
        await tickets.add(ticket(name.encode(), api_key=name), 10, 9)
        assert await tickets.redeem(name.encode(), "p", 50, "b", "c", 60) is not None
    await tickets.add(ticket(b"nonesuch", api_key="nonesuch"), 10, 9)
    await keys.revoke("revoked", 55)
    good = [n for n in (b"good", b"revoked", b"expires", b"nonesuch") if await tickets.redeem(n, "p", 60, "b", "c", 70)]
    assert good == [b"good"]


async def test_an_owner_has_so_many_tickets_and_no_more(database: Database) -> None:
    tickets = Tickets(database)
    assert [await tickets.add(ticket(bytes([n])), 50, 2) for n in range(3)] == [True, True, False]
    assert await tickets.add(ticket(b"other", owner="eve"), 50, 2)
    assert await tickets.add(ticket(b"later"), 100, 2)  # those before have expired


async def test_tickets_that_open_nothing_are_forgotten(database: Database) -> None:
    voice, tickets = VoiceSessions(database), Tickets(database)
    for name, user in ((b"a", "ann"), (b"b", "bob"), (b"c", "")):
        await tickets.add(ticket(name, user=user, owner=f"owner of {user}"), 50, 9)
    assert await voice.erase("ann") == 0
    assert await voice.erase("owner of bob") == 0
    assert [await tickets.redeem(n, "p", 50, "b", "c", 60) is None for n in (b"a", b"b", b"c")] == [True, True, False]
    assert await voice.sweep(99) == await voice.sweep(100) == Swept(0, 0)
    assert await database.run(lambda db: db.rows("SELECT COUNT(*) FROM tickets"), write=False) == [(0,)]
