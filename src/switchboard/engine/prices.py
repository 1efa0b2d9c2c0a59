"""The prices of the models that are asked, looked up beside the event loop and kept; what each record costs."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from switchboard.policy.pricing import Price, price_of
from switchboard.policy.routing import Target
from switchboard.telemetry.records import Record

_MOST: Final = 4096  # models whose prices are kept; clients may name models as they like
_UNKNOWN: Final = Price(())  # stands for one that is being looked up
_log: Final = logging.getLogger("switchboard.prices")


class PriceBook:
    """Prices by provider and model. It outlives a reload."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Price | None] = {}
        self._asked: set[tuple[str, str]] = set()
        self._thread: ThreadPoolExecutor | None = None  # begun when somebody has a price to look up

    def want(self, target: Target) -> None:
        """`target` is about to be asked: have its price at hand when the answer is over."""
        key = (target.provider.name, target.model)
        if key in self._asked or len(self._asked) >= _MOST:
            return
        self._asked.add(key)
        listed = target.provider.capabilities.prices
        if not listed:
            self._known[key] = None
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "prices")
        self._thread.submit(self._look_up, key, listed)

    def _look_up(self, key: tuple[str, str], listed: str) -> None:
        price = None
        try:
            price = price_of(listed, key[1])
        except Exception:
            _log.exception("the price of %s/%s could not be looked up", *key)
        self._known[key] = price

    def price(self, record: Record) -> bool:
        """Put its cost into `record`. False: its price is being looked up."""
        if not record.model:
            return True
        key = (record.provider, record.model)
        price = self._known.get(key, _UNKNOWN)
        if price is _UNKNOWN:
            return key not in self._asked
        used = record.usage
        # sound that is paid by tokens, and nobody has counted them
        unknown = used.characters and used.estimated and price is not None and not price.steps[0][1].characters
        if price is not None and not unknown:
            record.cost = price.cost(used)
        return True

    def close(self) -> None:
        """Look nothing up any more."""
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
