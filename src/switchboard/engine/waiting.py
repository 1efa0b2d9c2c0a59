"""Going on with something: at once where it is there, or once it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Waiting:
    """Waits for one thing at a time; `failed` is told of what is raised meanwhile, and by what follows."""

    __slots__ = ("_failed", "_task")

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._task: asyncio.Task[None] | None = None

    def when(self, found: T | Coroutine[Any, Any, T], go_on: Callable[[T], None]) -> None:
        """Go on with `found`, or with what it gives. Raises what `go_on` raises at once."""
        if not isinstance(found, Coroutine):
            go_on(found)
            return

        async def later() -> None:
            try:
                try:
                    value = await found
                finally:
                    if self._task is task:  # else it was given up, and something else is waited for by now
                        self._task = None
                go_on(value)
            except Exception as e:
                self._failed(e)

        task = self._task = asyncio.get_running_loop().create_task(later())
        task.add_done_callback(lambda _: found.close())  # where it was given up before it began

    def cancel(self) -> None:
        """Wait no more."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
