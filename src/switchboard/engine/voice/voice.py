"""Voice sessions as their owners see them, and the tickets that open conversations."""

from __future__ import annotations

import itertools
import secrets
import time
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from switchboard.core.counting import Taken
from switchboard.core.errors import Problem
from switchboard.core.types import Caller
from switchboard.engine.conversations import owner_of
from switchboard.engine.gate import Gate
from switchboard.engine.storage import problem_of
from switchboard.engine.voice.carrying import LEASE, Carried, Carrying
from switchboard.policy import tickets
from switchboard.policy.quotas import refusal
from switchboard.store import Database, StoreError
from switchboard.store.text import key, to_json
from switchboard.store.tickets import TicketRow, Tickets
from switchboard.store.transcripts import Source, Transcript, Transcripts
from switchboard.store.voice_sessions import EndReason, VoiceSession, VoiceSessions

#: Client secrets that a caller may have at a time.
MOST_SECRETS: Final = 1000
_API_KEY: Final = "apikey:"


class Connected(Struct, frozen=True):
    """A session that was begun: the ticket that opens it ("": there is none), and when it ends (ms since the epoch)."""

    token: str
    expires: int


class Ticket(Struct, frozen=True):
    """What a ticket that was shown is good for: `caller` is who it was given to. `session` is the voice session that it opens, and
    `earlier` what was heard of that before; None: there is none. `fields` are what else it was given with."""

    caller: Caller
    session: VoiceSession | None = None
    earlier: list[dict[str, Any]] = []
    fields: dict[str, Any] = {}


class Voice:
    """The voice sessions in `database`, those that this process carries among them. Tickets are hashed with `secret`."""

    def __init__(self, database: Database, secret: bytes) -> None:
        self.sessions = VoiceSessions(database)
        self._transcripts = Transcripts(database)
        self._tickets = Tickets(database)
        self._secret = secret
        self._boot = secrets.token_hex(16)
        self._number = itertools.count(1)
        self._carrying = Carrying(self.sessions, self._boot)

    def start(self) -> None:
        """Begin to look after sessions."""
        self._carrying.start()

    async def close(self) -> None:
        """Keep what there is to keep, within about two seconds, and stop. Conversations have to be over."""
        await self._carrying.close()

    # ---- for those whose they are

    async def connect(
        self,
        gate: Gate,
        caller: Caller,
        peer: str,
        id: str,  # noqa: A002
        user: str,
        *,
        seconds: int,
        direct: bool = False,
    ) -> Connected:
        """Begin the session `id` of `caller`, or take one's own up again, for `seconds`: what opened it before is void, and a
        conversation in it is over. `user` is the one that the call names. `direct`: no ticket is needed. Raises `Problem` (403, 429, 503)."""
        await self._admit(gate, caller, peer)
        at = int(time.time() * 1000)
        profile, owner, expires = gate.profile.name, owned_by(gate, caller, user), at + seconds * 1000
        token, row = "", None
        if not direct:
            token = tickets.make_session()
            row = self._row(token, caller, profile, {}, expires, session=id)
        try:
            most = min([r.limit for r in gate.quotas.rules(caller, peer).sessions if r.whose == "caller"], default=None)
            if most is not None and await self.sessions.carried(profile, owner, id, at) >= most:
                text = f"{most} voice sessions at a time are allowed for you: end one of them first."
                raise Problem("RATE_LIMITED", text)
            label = user or caller.user
            if not await self.sessions.connect(id, owner, label, profile, at=at, expires=expires, ticket=row):
                raise unauthorized()
        except StoreError as e:
            raise problem_of(e) from None
        self._carrying.ended(key(id), EndReason.REPLACED)
        return Connected(token, expires)

    async def _admit(self, gate: Gate, caller: Caller, peer: str) -> None:
        """Count a connect. Raises `Problem` (429)."""
        wanted = gate.quotas.rules(caller, peer).connects
        if not wanted:
            return
        taken = gate.counters.take([r.take(1) for r in wanted])
        taken = taken if isinstance(taken, Taken) else await taken
        if taken.refused >= 0:
            raise refusal(wanted[taken.refused], taken.resets[taken.refused])

    async def owner(self, gate: Gate, caller: Caller, user: str, id: str) -> str:  # noqa: A002
        """Whose the session `id` is that `caller` asks for, where the call names `user`. Who acts for others, or is not asked who they
        are, need not name one: the session tells. Raises `Problem` (503)."""
        owner = owned_by(gate, caller, user)
        if user or not (caller.act_as or owner == "open"):
            return owner
        try:
            found = await self.sessions.owner(gate.profile.name, id)
        except StoreError as e:
            raise problem_of(e) from None
        return found if found.startswith(owner + "/") else owner

    async def end(self, profile: str, owner: str, id: str) -> None:  # noqa: A002
        """A session is over, wherever it is carried; also one that was over before. Raises `Problem` (403, 503)."""
        try:
            found = await self.sessions.end(profile, owner, id, int(time.time() * 1000))
        except StoreError as e:
            raise problem_of(e) from None
        if not found:
            raise unauthorized()
        self._carrying.ended(key(id))

    async def delete(self, profile: str, owner: str, id: str) -> None:  # noqa: A002
        """Forget a session and what was said in it. Raises `Problem` (403, 503)."""
        try:
            found = await self.sessions.delete(profile, owner, id)
        except StoreError as e:
            raise problem_of(e) from None
        if not found:
            raise unauthorized()
        self._carrying.ended(key(id), EndReason.DELETED)

    async def delete_all(self, profile: str, owner: str, user: str | None) -> None:
        """Forget all sessions of an owner, or those that `user` is named for. Raises `Problem` (503)."""
        try:
            gone = await self.sessions.delete_all(profile, owner, user)
        except StoreError as e:
            raise problem_of(e) from None
        for id in gone:  # noqa: A001
            self._carrying.ended(id, EndReason.DELETED)

    async def listed(self, profile: str, owner: str, user: str | None, limit: int) -> list[VoiceSession]:
        """Sessions of an owner, or those that `user` is named for, the newest first. Raises `Problem` (503)."""
        try:
            return await self.sessions.list(profile, owner=owner, user=user, limit=limit)
        except StoreError as e:
            raise problem_of(e) from None

    async def put_transcript(self, profile: str, owner: str, id: str, messages: list[dict[str, Any]]) -> None:  # noqa: A002
        """Keep what a client says was said, in place of what it said before. Raises `Problem` (403, 503)."""
        try:
            found = await self._transcripts.put(profile, owner, id, messages, int(time.time() * 1000))
        except StoreError as e:
            raise problem_of(e) from None
        if not found:
            raise unauthorized()

    async def transcript(self, profile: str, owner: str, id: str, source: Source | None) -> Transcript | None:  # noqa: A002
        """What was said, as `source` has it; by default as the client said, else as it was heard. None: there is nothing. Raises
        `Problem` (403, 503)."""
        try:
            if await self.sessions.get(profile, owner, id) is None:
                raise unauthorized()
            found = {t.source: t for t in await self._transcripts.get(id)}
        except StoreError as e:
            raise problem_of(e) from None
        return found.get(source) if source is not None else found.get(Source.POSTED) or found.get(Source.RELAY)

    # ---- tickets

    async def mint(self, caller: Caller, profile: str, fields: dict[str, Any], seconds: int) -> tuple[str, int]:
        """A client secret, good for any number of conversations of `caller` in `profile`, and when it ends (seconds since the epoch).
        `fields` come back with it. Raises `Problem` (429, 503)."""
        at = time.time()
        expires = int(at) + seconds
        value = tickets.make_client(profile)
        row = self._row(value, caller, profile, fields, expires * 1000)
        try:
            if not await self._tickets.add(row, int(at * 1000), MOST_SECRETS):
                text = f"{MOST_SECRETS} client secrets at a time are allowed for you; they end by themselves."
                raise Problem("RATE_LIMITED", text, retry_after="60")
        except StoreError as e:
            raise problem_of(e) from None
        return value, expires

    async def redeem(self, token: bytes, profile: str) -> Ticket | None:
        """What `token` is good for in `profile`, None where it is nothing; one for a session is used up by that. Its session is carried
        by this process from now on: `carry` it soon, `LEASE` is all the time that there is. Raises `Problem` (503)."""
        if not tickets.is_ticket(token):
            return None
        at, carrier = int(time.time() * 1000), f"{self._boot}.{next(self._number)}"
        digest = tickets.hash_of(token, self._secret)
        try:
            async with self._carrying.telling:
                row = await self._tickets.redeem(digest, profile, at, self._boot, carrier, at + LEASE)
                if row is None:
                    return None
                caller, fields = msgspec.json.decode(row.caller, type=Caller), msgspec.json.decode(row.fields)
                if row.session is None:
                    return Ticket(caller, fields=fields)
                opened = await self.sessions.opened(row)
                if opened is None or opened[0].carrier != carrier:
                    return None
                session, earlier = opened
                unkept = self._carrying.taken(session)
        except StoreError as e:
            raise problem_of(e) from None
        return Ticket(caller, session, earlier if unkept is None else unkept, fields)

    def _row(
        self,
        value: str,
        caller: Caller,
        profile: str,
        fields: dict[str, Any],
        expires: int,
        *,
        session: str | None = None,
    ) -> TicketRow:
        digest = tickets.hash_of(value.encode(), self._secret)
        api_key = caller.id.removeprefix(_API_KEY) if caller.kind == "api_key" else ""
        # who holds a ticket is one user, whomever its giver may act for
        holder = to_json(replace(caller, act_as=False))
        texts = (profile, caller.id, caller.user, api_key, holder, to_json(fields))
        return TicketRow(digest, session, *texts, expires, session is not None)

    # ---- for the relays of this process

    @property
    def carried(self) -> int:
        """How many sessions this process carries."""
        return self._carrying.open

    def carry(self, ticket: Ticket, carried: Carried) -> None:
        """`carried` is the conversation that `ticket` opened: from now on its session is looked after. One that carries the same session
        is told that it is over. Nothing happens for a ticket without a session."""
        if ticket.session is not None:
            self._carrying.carry(ticket.session, ticket.earlier, carried)

    def release(self, session: str, carried: Carried, reason: EndReason = EndReason.ENDED) -> None:
        """`carried` is over: the last of what was said in it is kept, and the session (its id as in `Ticket.session`) is marked with
        `reason`."""
        self._carrying.release(session, carried, reason)


def owned_by(gate: Gate, caller: Caller, user: str) -> str:
    """Whose sessions `caller` asks for, where the call names `user`."""
    return owner_of(caller, user, trusting=not gate.identity.closed)


def unauthorized() -> Problem:
    """A session is not there, or somebody else's: nobody is told which."""
    return Problem("FORBIDDEN", "Unauthorized")
