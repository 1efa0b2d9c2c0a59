"""The prices of the models that are asked, looked up beside the event loop and kept; what each record costs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from enum import Enum
from typing import Final

from msgspec import Struct

from switchboard.policy.pricing import Price, price_of
from switchboard.policy.target import Target
from switchboard.telemetry.records import Record

_MOST: Final = 4096  # models that are known, and as many that are being looked up; clients may name them as they like
_PATIENCE: Final = 2.0  # seconds
_log: Final = logging.getLogger("switchboard.prices")

#: A model, and the list that its price is looked up in.
_Key = tuple[str, str]


class Unknown(Enum):
    """Stands for a price that is not known yet."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN


class _LookUp(Struct):
    """A price that is being looked up, and who waits for it."""

    found: Future[Price | None]
    waiting: set[asyncio.Future[None]]
    watched: bool = False

    def wake(self) -> None:
        for w in self.waiting:
            if not w.done():
                w.set_result(None)


class PriceBook:
    """Prices by list and model. It outlives a reload, and is of one event loop.

    At most `most` models are kept. Where there are more, those go first that have no price, which anybody can name any
    number of, the longest unused before the others; what is asked for again is looked up again. `wait_for` waits
    `patience` seconds. `look_up` finds the price of a model in a list, in a thread.
    """

    def __init__(
        self,
        look_up: Callable[[str, str], Price | None] = price_of,
        *,
        most: int = _MOST,
        patience: float = _PATIENCE,
    ) -> None:
        self._look_up = look_up
        self._most = most
        self._patience = patience
        self._lists: dict[str, str] = {}  # by provider's name, as it is now
        self._prices: dict[_Key, Price] = {}  # the last one used stands last
        self._without: dict[_Key, None] = {}  # models that have no price, likewise
        self._looking: dict[_Key, _LookUp] = {}
        self._thread: ThreadPoolExecutor | None = None  # begun when somebody has a price to look up
        self._closed = False

    def want(self, target: Target) -> None:
        """`target` is about to be asked: have its price at hand when the answer is over."""
        self.price_for(target)

    def price_for(self, target: Target) -> Price | Unknown | None:
        """What `target` costs: None where that is in no list, `UNKNOWN` while it is being looked up."""
        listed = target.provider.capabilities.prices
        self._lists[target.provider.name] = listed
        return self._price((listed, target.model))

    async def wait_for(self, target: Target) -> Price | None:
        """What `target` costs; waits a little while that is being looked up. None where it is not known."""
        price = self.price_for(target)
        looking = self._looking.get((target.provider.capabilities.prices, target.model))
        if price is UNKNOWN and looking is not None:
            await self._found(looking)
            price = self.price_for(target)
        return None if price is UNKNOWN else price

    async def _found(self, looking: _LookUp) -> None:
        """Wait until the thread has looked, or for as long as there is patience."""
        loop = asyncio.get_running_loop()

        def tell(_: object) -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(looking.wake)

        told = loop.create_future()
        looking.waiting.add(told)
        try:
            if not looking.watched:
                looking.watched = True
                looking.found.add_done_callback(tell)
            await asyncio.wait((told,), timeout=self._patience)
        finally:
            looking.waiting.discard(told)

    def _price(self, key: _Key) -> Price | Unknown | None:
        """What is known; begins to look where nothing is."""
        price = self._prices.pop(key, None)
        if price is not None:
            self._prices[key] = price
            return price
        if not key[0]:
            return None
        if key in self._without:
            del self._without[key]
            self._without[key] = None
            return None
        looking = self._looking.get(key) or self._begin(key)
        if looking is None or not looking.found.done():
            return UNKNOWN
        del self._looking[key]
        return self._keep(key, looking.found)

    def _begin(self, key: _Key) -> _LookUp | None:
        """Look a price up; None where too many are looked up already."""
        if self._closed:
            return None
        if len(self._looking) >= self._most:
            self._gather()
            if len(self._looking) >= self._most:
                return None
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "prices")
        looking = self._looking[key] = _LookUp(self._thread.submit(self._look_up, *key), set())
        return looking

    def _gather(self) -> None:
        """Take over what was found and nobody has asked for since."""
        for key, looking in list(self._looking.items()):
            if looking.found.done():
                del self._looking[key]
                self._keep(key, looking.found)

    def _keep(self, key: _Key, found: Future[Price | None]) -> Price | Unknown | None:
        if found.cancelled():
            return UNKNOWN
        error = found.exception()
        if error is not None:
            _log.error("the price of %s in the list %s could not be looked up", key[1], key[0], exc_info=error)
        price = None if error is not None else found.result()
        if price is None:
            self._without[key] = None
        else:
            self._prices[key] = price
        if len(self._prices) + len(self._without) > self._most:
            oldest: dict[_Key, None] | dict[_Key, Price] = self._without or self._prices
            del oldest[next(iter(oldest))]
        return price

    def price(self, record: Record) -> bool:
        """Put its cost into `record`. False: its price is being looked up."""
        if not record.model:
            return True
        price = self._price((self._lists.get(record.provider, ""), record.model))
        if price is UNKNOWN:
            return self._closed
        used = record.usage
        # sound that is paid by tokens, and nobody has counted them
        unknown = used.characters and used.estimated and price is not None and not price.steps[0][1].characters
        if price is not None and not unknown:
            record.cost = price.cost(used)
        return True

    def close(self) -> None:
        """Look nothing up any more."""
        self._closed = True
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
