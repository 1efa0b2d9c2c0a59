"""Voice sessions: those that this process carries, and what others do to them meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from switchboard.core.clock import now
from switchboard.core.counting import Allowance
from switchboard.core.errors import Problem
from switchboard.core.types import Caller
from switchboard.engine.gate import Gate
from switchboard.engine.voice import EndReason, Ticket, Voice, VoiceSession, carrying
from switchboard.policy.quotas import Quotas
from switchboard.store import Database, StoreError
from switchboard.store.counters.local import LocalCounters
from switchboard.store.errors import Kind
from switchboard.store.keys import ApiKey, Keys
from switchboard.store.transcripts import Source, Transcripts

pytestmark = pytest.mark.anyio

ANN, EVE = Caller("jwt:i:ann", "jwt", user="ann"), Caller("jwt:i:eve", "jwt", user="eve")
SECRET = b"a secret of the server"


class Talk:
    """A conversation that carries a session: says what is put into `said`, and notes when it is told to end."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.told = 0
        self.over: list[EndReason] = []
        self.ended_at = 0.0

    def say(self, text: str) -> None:
        self.said.append({"role": "user", "content": text})

    def script(self) -> list[dict[str, Any]] | None:
        if self.told == len(self.said):
            return None
        self.told = len(self.said)
        return list(self.said)

    def session_over(self, reason: EndReason) -> None:
        self.over.append(reason)
        self.ended_at = now()


def gate(profile: str = "default", *, closed: bool = True, **allowance: int) -> Gate:
    """A gate that holds callers to an allowance."""
    parts = {
        "profile": SimpleNamespace(name=profile),
        "identity": SimpleNamespace(closed=closed),
        "quotas": Quotas(profile, Allowance(**allowance)),
        "counters": LocalCounters(),
    }
    return cast("Gate", SimpleNamespace(**parts))


class House:
    """A server: its database and its voice sessions."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.voice = Voice(database, SECRET)
        self.gate = gate()

    async def connect(self, name: str, caller: Caller = ANN, seconds: int = 60) -> str:
        return (await self.voice.connect(self.gate, caller, "1.2.3.4", name, "", seconds=seconds)).token

    async def redeem(self, token: str, profile: str = "default") -> Ticket | None:
        return await self.voice.redeem(token.encode(), profile)

    async def open(self, name: str, caller: Caller = ANN, seconds: int = 60) -> tuple[Ticket, Talk]:
        """Connect, and carry the session."""
        ticket, talk = await self.redeem(await self.connect(name, caller, seconds)), Talk()
        assert ticket is not None
        self.voice.carry(ticket, talk)
        return ticket, talk

    async def row(self, name: str, caller: Caller = ANN) -> VoiceSession | None:
        return await self.voice.sessions.get("default", caller.id, name)

    async def status(self, name: str) -> tuple[str, str]:
        row = await self.row(name)
        return ("", "") if row is None else (row.status, row.end_reason)

    async def heard(self, name: str) -> list[str]:
        found = {t.source: t.messages for t in await Transcripts(self.database).get(name)}
        return [m["content"] for m in found.get(Source.RELAY, [])]


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    database = Database.open(f"sqlite:///{folder / 'voice.db'}")
    database.start()
    assert await database.wait_ready(10), database.trouble
    h = House(database)
    h.voice.start()
    try:
        yield h
    finally:
        await h.voice.close()
        await database.close()


async def soon(look: Any, wanted: Any, within: float = 1.5) -> None:
    """Wait until `look` gives what is `wanted`."""
    end = now() + within
    while (found := await look()) != wanted:
        assert now() < end, found
        await asyncio.sleep(0.01)


async def told(talk: Talk, reason: EndReason, within: float = 1.0) -> None:
    async def look() -> list[EndReason]:
        return talk.over

    await soon(look, [reason], within)


async def test_what_is_said_is_kept_while_it_is_said(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        ticket, talk = await h.open("s")
        assert ticket.caller == ANN and ticket.session is not None and ticket.earlier == []
        talk.say("Hello")
        await soon(lambda: h.heard("s"), ["Hello"], 1.0)
        talk.say("there")
        await soon(lambda: h.heard("s"), ["Hello", "there"], 1.0)
        talk.say("Bye")
        h.voice.release("s", talk)
        await soon(lambda: h.heard("s"), ["Hello", "there", "Bye"])
        assert await h.status("s") == ("ended", "ended")
        assert talk.over == [] and h.voice.carried == 0


async def test_the_reason_of_an_end_is_kept(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        _, talk = await h.open("s")
        h.voice.release("s", talk, EndReason.EXPIRED)
        await soon(lambda: h.status("s"), ("ended", "expired"))


@pytest.mark.parametrize("way", ["end", "delete", "delete_all", "connect"])
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_what_others_do_ends_a_conversation(way: str, elsewhere: bool, tmp_path: Path) -> None:
    async with house(tmp_path) as h, house(tmp_path) as other:
        ticket, talk = await h.open("s")
        assert ticket.session is not None
        _, bystander = await h.open("t")
        talk.say("Hello")
        at = now()
        there = (other if elsewhere else h).voice
        match way:
            case "end":
                await there.end("default", ANN.id, "s")
            case "delete":
                await there.delete("default", ANN.id, "s")
            case "delete_all":
                await there.sessions.end("default", ANN.id, "t", int(time.time() * 1000))
                await there.delete_all("default", ANN.id, "ann")
            case _:
                await there.connect(h.gate, ANN, "", "s", "", seconds=60)
        reason = {"end": EndReason.ENDED, "connect": EndReason.REPLACED}.get(way, EndReason.DELETED)
        if elsewhere:
            await told(talk, reason)
        assert talk.over == [reason] and talk.ended_at - at < 1.0
        h.voice.release("s", talk)  # as a relay does when it ends
        if way in ("end", "connect"):
            await soon(lambda: h.heard("s"), ["Hello"])
            await asyncio.sleep(0.1)
            assert await h.status("s") == {"end": ("ended", "ended"), "connect": ("active", "")}[way]
        else:
            await asyncio.sleep(0.7)
            assert await h.row("s") is None and await h.heard("s") == []
        if way != "delete_all":
            assert bystander.over == []


async def test_a_session_that_expires_ends_its_conversation(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        token = (await h.voice.connect(h.gate, ANN, "", "s", "", seconds=1)).token
        ticket, talk = await h.redeem(token), Talk()
        assert ticket is not None
        h.voice.carry(ticket, talk)
        talk.say("Hello")
        await told(talk, EndReason.EXPIRED, 2.0)
        await soon(lambda: h.status("s"), ("ended", "expired"))
        assert await h.heard("s") == ["Hello"]


async def test_a_session_goes_on_in_another_conversation(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        _, first = await h.open("s")
        first.say("Hello")
        token = await h.connect("s")  # before anything of it was written
        assert first.over == [EndReason.REPLACED]
        ticket, second = await h.redeem(token), Talk()
        assert ticket is not None
        h.voice.carry(ticket, second)
        h.voice.release("s", first)
        await soon(lambda: h.heard("s"), ["Hello"])
        second.say("again")
        await soon(lambda: h.heard("s"), ["Hello", "again"])
        assert await h.status("s") == ("active", "")
        h.voice.release("s", second)
        await soon(lambda: h.status("s"), ("ended", "ended"))
        third, _ = await h.open("s")
        assert [m["content"] for m in third.earlier] == ["Hello", "again"]
        assert await h.heard("s") == ["Hello", "again"]


async def test_one_that_is_carried_twice_is_replaced(tmp_path: Path) -> None:
    async with house(tmp_path) as h, house(tmp_path) as other:
        _, first = await h.open("s")
        first.say("Hello")
        token = await other.connect("s")  # of which this process does not know
        ticket, second = await h.redeem(token), Talk()
        assert ticket is not None
        h.voice.carry(ticket, second)
        assert first.over == [EndReason.REPLACED] and h.voice.carried == 1
        h.voice.release("s", first)
        second.say("again")
        await soon(lambda: h.heard("s"), ["Hello", "again"])
        assert second.over == [] and await h.status("s") == ("active", "")


async def test_of_two_that_were_opened_the_later_one_carries_on(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        first = await h.redeem(await h.connect("s"))
        second = await h.redeem(await h.connect("s"))
        assert first is not None and second is not None
        early, late = Talk(), Talk()
        h.voice.carry(second, late)
        h.voice.carry(first, early)
        assert early.over == [EndReason.REPLACED] and late.over == []
        late.say("Hello")
        await soon(lambda: h.heard("s"), ["Hello"])
        assert late.over == []


async def test_what_was_said_in_a_session_that_was_deleted_does_not_come_back(tmp_path: Path) -> None:
    async with house(tmp_path) as h, house(tmp_path) as other:
        _, talk = await h.open("s")
        talk.say("a secret")
        await other.voice.delete("default", ANN.id, "s")
        await other.connect("s")
        await told(talk, EndReason.REPLACED)
        h.voice.release("s", talk)
        await asyncio.sleep(0.7)
        assert await h.heard("s") == []


async def test_a_session_whose_process_died_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchboard.engine.voice.voice.LEASE", 300)
    async with house(tmp_path) as dead:
        ticket = await dead.redeem(await dead.connect("s"))
        assert ticket is not None and await dead.status("s") == ("active", "")
        await asyncio.sleep(0.31)
        async with house(tmp_path) as h:  # sweeps when it starts
            await soon(lambda: h.status("s"), ("ended", "lost"))
            late = Talk()
            dead.voice.carry(ticket, late)
            await told(late, EndReason.LOST)


async def test_a_session_is_not_lost_while_it_is_carried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("voice.LEASE", "carrying.LEASE"):
        monkeypatch.setattr(f"switchboard.engine.voice.{place}", 900)
    monkeypatch.setattr(carrying, "SWEEP", 0.1)
    monkeypatch.setattr(carrying, "TEND", 0.1)
    monkeypatch.setattr(carrying, "_RENEW", 0.2)
    async with house(tmp_path) as h, house(tmp_path):
        _, talk = await h.open("s")
        await asyncio.sleep(1.5)
        assert talk.over == [] and await h.status("s") == ("active", "")


async def test_while_the_database_is_away_conversations_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "TEND", 0.05)
    async with house(tmp_path) as h:
        _, one = await h.open("one")
        _, two = await h.open("two")
        run, away = Database.run, True

        async def down(self: Database, work: Any, *, write: bool) -> Any:
            if away:
                raise StoreError(Kind.UNAVAILABLE, "it is away")
            return await run(self, work, write=write)

        monkeypatch.setattr(Database, "run", down)
        for n in range(5):
            one.say(f"{n}")
            await asyncio.sleep(0.06)
        two.say("Bye")
        h.voice.release("two", two)
        await asyncio.sleep(0.2)
        assert one.over == []
        away = False
        await soon(lambda: h.heard("one"), ["0", "1", "2", "3", "4"])
        await soon(lambda: h.heard("two"), ["Bye"])
        assert await h.status("two") == ("ended", "ended") and await h.status("one") == ("active", "")


async def test_what_fails_in_one_conversation_does_not_touch_others(tmp_path: Path) -> None:
    class Broken(Talk):
        def script(self) -> list[dict[str, Any]] | None:
            raise RuntimeError("no script")

        def session_over(self, reason: EndReason) -> None:
            raise RuntimeError("no end")

    async with house(tmp_path) as h:
        ticket = await h.redeem(await h.connect("broken"))
        assert ticket is not None
        h.voice.carry(ticket, Broken())
        _, talk = await h.open("s")
        talk.say("Hello")
        await soon(lambda: h.heard("s"), ["Hello"])
        await h.voice.end("default", ANN.id, "broken")
        talk.say("there")
        await soon(lambda: h.heard("s"), ["Hello", "there"])


async def test_a_transcript_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "_MESSAGES", 3)
    async with house(tmp_path) as h:
        _, talk = await h.open("s")
        for n in range(5):
            talk.say(f"{n}")
        await soon(lambda: h.heard("s"), ["2", "3", "4"])


async def test_all_is_written_at_the_end(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        _, released = await h.open("released")
        _, carried = await h.open("carried")
        released.say("Bye")
        carried.say("Bye")
        h.voice.release("released", released)
        await h.voice.close()
        assert await h.heard("released") == ["Bye"] == await h.heard("carried")
        assert await h.status("released") == ("ended", "ended")
        await h.voice.close()


async def test_the_end_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "_PATIENCE", 0.2)
    async with house(tmp_path) as h:
        _, talk = await h.open("s")
        talk.say("Bye")
        h.voice.release("s", talk)

        async def hangs(*args: Any, **more: Any) -> None:
            await asyncio.sleep(20)

        monkeypatch.setattr(h.voice.sessions, "tend", hangs)
        at = now()
        await h.voice.close()
        assert now() - at < 1.0


# ---- tickets


async def test_a_ticket_opens_its_session_once(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        token = await h.connect("s")
        assert token.startswith("vt_")
        assert await h.redeem(token, "other") is None
        used = await asyncio.gather(*(h.redeem(token) for _ in range(50)))
        (ticket,) = [u for u in used if u is not None]
        assert ticket.session is not None and (ticket.session.id, ticket.session.user) == ("s", "ann")
        assert ticket.caller == ANN
        stored = await h.database.run(lambda db: db.rows("SELECT * FROM tickets"), write=False)
        assert token not in str(stored) and SECRET.decode() not in str(stored)


async def test_a_client_secret_is_good_again_and_again(tmp_path: Path) -> None:
    caller = Caller(
        "apikey:k1",
        "api_key",
        user="app",
        models=frozenset({"a", "b"}),
        surfaces=frozenset({"realtime"}),
        allowance=Allowance(dollars_per_day=0.5, voice_sessions=3),
        act_as=True,
    )
    async with house(tmp_path) as h:
        keys = Keys(h.database)
        await keys.add(ApiKey("k1", b"h", "app", "shop", 1))
        value, expires = await h.voice.mint(caller, "shop", {"voice": "marin"}, 600)
        assert value.startswith("ek_shop_") and abs(expires - time.time() - 600) < 5
        for _ in range(2):
            ticket = await h.redeem(value, "shop")
            assert ticket is not None and ticket.session is None and ticket.fields == {"voice": "marin"}
            assert ticket.caller == Caller(
                caller.id, "api_key", "app", "", caller.models, caller.surfaces, caller.allowance, act_as=False
            )
        assert await h.redeem(value) is None
        assert await h.redeem(value[:-1] + ("a" if value[-1] != "a" else "b"), "shop") is None
        await keys.revoke("k1", int(time.time() * 1000))
        assert await h.redeem(value, "shop") is None


async def test_a_client_secret_expires(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        value, _ = await h.voice.mint(ANN, "default", {}, 0)
        assert await h.redeem(value) is None


async def test_a_caller_has_so_many_secrets_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchboard.engine.voice.voice.MOST_SECRETS", 2)
    async with house(tmp_path) as h:
        for _ in range(2):
            await h.voice.mint(ANN, "default", {}, 600)
        with pytest.raises(Problem) as e:
            await h.voice.mint(ANN, "default", {}, 600)
        assert e.value.code == "RATE_LIMITED"
        await h.voice.mint(EVE, "default", {}, 600)


async def test_another_server_s_secret_opens_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        token = await h.connect("s")
        assert await Voice(h.database, b"another secret, of a replica").redeem(token.encode(), "default") is None
        assert await h.redeem(token) is not None


# ---- limits


async def test_connects_are_counted(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        h.gate = gate(voice_connects_per_minute=2)
        await h.connect("a")
        await h.connect("a")
        with pytest.raises(Problem) as e:
            await h.connect("b")
        assert e.value.code == "RATE_LIMITED" and e.value.retry_after is not None
        await h.connect("e", EVE)


async def test_sessions_that_are_open_are_counted(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        h.gate = gate(voice_sessions=2)
        for name in ("waits", "waits too", "and this"):  # nobody carries them
            await h.connect(name)
        _, a = await h.open("a")
        await h.open("b")
        with pytest.raises(Problem) as e:
            await h.connect("c")
        assert e.value.code == "RATE_LIMITED"
        assert await h.row("c") is None
        await h.connect("a")  # one of them, again
        assert a.over == [EndReason.REPLACED]
        await h.connect("c")
        await h.open("e", EVE)


async def test_somebody_else_s_session_is_left_alone(tmp_path: Path) -> None:
    async with house(tmp_path) as h:
        _, talk = await h.open("s")
        tries = [
            h.connect("s", EVE),
            h.voice.end("default", EVE.id, "s"),
            h.voice.end("other", ANN.id, "s"),
            h.voice.delete("default", EVE.id, "s"),
            h.voice.put_transcript("default", EVE.id, "s", []),
            h.voice.transcript("default", EVE.id, "s", None),
            h.voice.end("default", EVE.id, "nonesuch"),
        ]
        for one in tries:
            with pytest.raises(Problem) as e:
                await one
            assert (e.value.code, e.value.message) == ("FORBIDDEN", "Unauthorized")
        await h.voice.delete_all("default", EVE.id, "ann")
        assert talk.over == [] and await h.status("s") == ("active", "")
