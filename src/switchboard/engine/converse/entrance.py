"""Who may talk, and with whom: everything that is asked before a provider is, for each way into a conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct

from switchboard.core.counting import Change, Taken
from switchboard.core.errors import Problem
from switchboard.core.types import Caller, Converse, Envelope, RequestHead, SocketCall
from switchboard.engine.converse.meter import Meter
from switchboard.engine.exchange import Kit
from switchboard.engine.voice import Ticket
from switchboard.engine.waiting import Waiting
from switchboard.policy import tickets
from switchboard.policy.authenticate import CHALLENGE
from switchboard.policy.quotas import refusal
from switchboard.policy.target import Target


class Admitted(Struct):
    """Somebody who may talk: with `target`, by `call`, and with the `ticket` that they came with (None: without)."""

    caller: Caller
    target: Target
    call: SocketCall
    meter: Meter
    ticket: Ticket | None = None


class Entrance:
    """Lets one in: `admitted` is told who, or `failed` why not; `over` is told when nothing is left to pay it. What is held of
    limits until the end, `leave` gives back."""

    def __init__(
        self,
        kit: Kit,
        admitted: Callable[[Admitted], None],
        failed: Callable[[Exception], None],
        over: Callable[[Problem], None],
    ) -> None:
        self._kit = kit
        self._admitted = admitted
        self._over = over
        self._waiting = Waiting(failed)
        self._held: list[Change] = []
        self._left = False
        self.caller: Caller | None = None
        self.target: Target | None = None

    def identify(
        self,
        head: RequestHead,
        envelope: Envelope,
        ticket: str,
        known: Callable[[Caller, Ticket | None], None],
    ) -> None:
        """Who is it? `ticket` is what was shown of the kind that this server gives out itself ("": nothing). `known` is told, and goes on
        with `place`. Raises what is wrong at once."""
        if envelope.problem is not None:
            raise envelope.problem

        def who(caller: Caller, ticket: Ticket | None) -> None:
            self.caller = caller
            if caller.surfaces is not None and "realtime" not in caller.surfaces:
                raise Problem("FORBIDDEN", "This caller may not use realtime.")
            known(caller, ticket)

        def without() -> None:
            found = self._kit.gate.identify(head, envelope.peer, "realtime")
            self._waiting.when(found, lambda caller: who(caller, None))

        def redeemed(found: Ticket | None) -> None:
            if found is not None and self._stands(found.caller):
                who(found.caller, found)
            elif self._kit.gate.identity.closed or ticket.startswith(tickets.SESSION):
                self._kit.gate.identity.failed(envelope.peer)
                raise Problem("UNAUTHORIZED", "The token is not valid, was used, or has expired.", headers=CHALLENGE)
            else:
                without()  # nobody is asked here: some clients want a secret, and made one up

        if ticket:
            self._kit.gate.identity.stopped(envelope.peer)
            self._waiting.when(self._redeem(ticket), redeemed)
        else:
            without()

    async def _redeem(self, ticket: str) -> Ticket | None:
        voice = self._kit.voice
        return None if voice is None else await voice.redeem(ticket.encode(), self._kit.gate.profile.name)

    def _stands(self, caller: Caller) -> bool:
        """Whether the key by which a ticket was got is still one; of API keys, the store knows."""
        return caller.kind != "access_key" or self._kit.gate.identity.access.by_id(caller.id) is not None

    def place(self, caller: Caller, peer: str, model: str, ticket: Ticket | None, *, documents: bool = True) -> None:
        """Is there room, and who answers as `model` ("": as the profile says)? What the ticket says goes over that. `documents`: a model that
        nobody has becomes the profile's. Raises what is wrong at once."""
        gate = self._kit.gate
        rules = gate.quotas.rules(caller, peer)
        counted = ticket is not None and ticket.session is not None  # when it was connected
        wanted = rules.sessions if counted else (*rules.connects, *rules.sessions)
        taken = gate.counters.take([r.take(1) for r in wanted])

        def hold(taken: Taken) -> None:
            if taken.refused < 0:
                self._held = [Change(r.key, r.window, -1, taken.at) for r in rules.sessions]

        def placed(taken: Taken) -> None:
            if taken.refused >= 0:
                raise refusal(wanted[taken.refused], taken.resets[taken.refused])
            self._choose(caller, peer, model, ticket, documents=documents)

        if isinstance(taken, Taken):
            hold(taken)
            placed(taken)
            return
        # it goes on when nobody waits for it any more: what it takes then has to be given back
        asking = asyncio.ensure_future(taken)

        def told(asking: asyncio.Future[Taken]) -> None:
            if not asking.cancelled() and asking.exception() is None:
                hold(asking.result())
                if self._left:
                    self.leave()

        asking.add_done_callback(told)

        async def later() -> Taken:
            return await asyncio.shield(asking)

        self._waiting.when(later(), placed)

    def _choose(self, caller: Caller, peer: str, model: str, ticket: Ticket | None, *, documents: bool) -> None:
        """There is room: with whom?"""
        gate = self._kit.gate
        if ticket is not None and isinstance(said := ticket.fields.get("model"), str):
            model = said
        target = self.target = gate.plan(Converse(model), caller, documents=documents)[0]
        provider = target.provider
        if not provider.configured:
            raise Problem("API_KEY_NOT_CONFIGURED", f"{provider.title} API key not configured", headers=b"")
        call = provider.socket(target.model)
        if call is None:
            raise Problem("INVALID_REQUEST", f"{provider.title} does not converse by voice.")
        meter = Meter(gate, caller, peer, target, self._over)
        admitted = Admitted(caller, target, call, meter, ticket)

        def looked(taken: Taken) -> None:
            problem = meter.refused(taken)
            if problem is not None:
                raise problem
            self._admitted(admitted)

        looking = meter.look()
        if looking is None:
            self._admitted(admitted)
        elif isinstance(looking, Taken):
            looked(looking)
        else:
            asked = looking

            async def later() -> Taken:
                return await asked

            self._waiting.when(later(), looked)

    def leave(self) -> None:
        """It is over, however far it came."""
        self._left = True
        self._waiting.cancel()
        held, self._held = self._held, []
        if held:
            self._kit.gate.counters.give(held)
