"""What tests have in common that say anything at all to a server on a loop of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from hypothesis import HealthCheck, settings


def quick(examples: int) -> settings:
    """So many examples, one fixture for all of them."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in pieces, cut wherever `cuts` say."""
    edges = [0, *sorted({c % (len(data) + 1) for c in cuts}), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


@contextmanager
def errors_seen(runner: asyncio.Runner) -> Iterator[list[str]]:
    """What is logged as an error meanwhile, and what the loop of `runner` is told that nobody caught."""
    seen: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(self.format(record))

    listener = Listener(logging.ERROR)
    logging.getLogger().addHandler(listener)
    runner.get_loop().set_exception_handler(lambda _, what: seen.append(repr(what)))
    try:
        yield seen
    finally:
        logging.getLogger().removeHandler(listener)
