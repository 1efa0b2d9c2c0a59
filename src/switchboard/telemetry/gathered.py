"""What all workers of a server tell together: their metrics added up, and how much each has open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import Struct
from prometheus_client.utils import floatToGoString

from switchboard.net.control import Control, Siblings
from switchboard.telemetry.metrics import Metrics

#: Metrics of a process, each worker's by itself: those whose name begins so.
_EACH: Final = "process_"
#: Metrics that say the same in every worker: the first one's is told.
_ONCE: Final = frozenset({"python_info"})
#: Metrics of which the largest counts: what each worker knows of the whole server, or a yes or no.
_LARGEST: Final = frozenset({"switchboard_reloads", "switchboard_target_open"})
#: Seconds within which a worker has to tell what it has open; a health check waits for that.
_SOON: Final = 0.5
_number: Final[Callable[[float], str]] = floatToGoString


class _Metric:
    """One metric, from all the workers."""

    __slots__ = ("each", "head", "largest", "once", "series")

    def __init__(self, name: str) -> None:
        self.head: list[str] = []  # its lines of HELP and TYPE
        self.series: dict[str, float] = {}  # by what stands before the value
        name = name.removesuffix("_total")
        self.each = name.startswith(_EACH)
        self.once = name in _ONCE
        self.largest = name in _LARGEST

    def add(self, worker: int, series: str, value: float) -> None:
        """What `worker` tells, of a metric that is not simply summed."""
        if self.each:
            self.series[_labelled(series, worker)] = value
        elif self.once:
            if not self.series:
                self.series[series] = value
        else:
            self.series[series] = max(self.series.get(series, value), value)


def merged(expositions: Iterable[tuple[int, str]]) -> bytes:
    """One exposition made of those of several workers, each with its index, in Prometheus' text format (without timestamps).

    Counters, histograms and gauges are summed by their labels; what is told of each process gets a label `worker`; of
    `_LARGEST` the largest counts, of `_ONCE` the first.
    """
    metrics: dict[str, _Metric] = {}
    for worker, text in expositions:
        metric = _Metric("")
        series, plain = metric.series, True
        for line in text.split("\n"):  # not splitlines: a label's value may hold what that takes for the end of a line
            if line[:1] == "#":
                name = line.split(" ", 3)[2]
                if name not in metrics:
                    metrics[name] = _Metric(name)
                if metrics[name] is not metric:
                    metric = metrics[name]
                    series, plain = metric.series, not (metric.each or metric.once or metric.largest)
                if len(metric.head) < 2 and line not in metric.head:
                    metric.head.append(line)
            elif line:
                key, _, value = line.rpartition(" ")
                if plain:
                    series[key] = series.get(key, 0.0) + float(value)
                else:
                    metric.add(worker, key, float(value))
    lines: list[str] = []
    for metric in metrics.values():
        lines += metric.head
        lines += [f"{key} {_number(value)}" for key, value in metric.series.items()]
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _labelled(series: str, worker: int) -> str:
    if series.endswith("}"):
        return f'{series[:-1]},worker="{worker}"}}'
    return f'{series}{{worker="{worker}"}}'


class Open(Struct):
    """What a worker, or all of them, have open: WebSockets and requests; `uptime` is in seconds, the oldest worker's."""

    connections: int = 0
    requests: int = 0
    uptime: float = 0.0


class Gathered:
    """Answers for one worker, and asks all. `is_open` tells what this worker has open."""

    def __init__(self, siblings: Siblings, control: Control, metrics: Metrics, is_open: Callable[[], Open]) -> None:
        self._siblings = siblings
        self._metrics = metrics
        self._open = is_open
        self._asking: asyncio.Task[bytes] | None = None
        control.on("metrics", lambda _: metrics.expose())
        control.on("status", lambda _: msgspec.json.encode(is_open()))

    async def metrics(self) -> bytes:
        """The metrics of all workers that answer. Whoever asks while they are being asked gets the same."""
        if self._siblings.count == 1:
            return self._metrics.expose()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        return await asyncio.shield(self._asking)

    async def _ask(self) -> bytes:
        answers = await self._siblings.ask_all("metrics")
        return merged((worker, text.decode()) for worker, text in answers)

    async def status(self) -> Open:
        """What all workers that answer have open."""
        if self._siblings.count == 1:
            return self._open()
        out = Open()
        for _, answer in await self._siblings.ask_all("status", limit=_SOON):
            one = msgspec.json.decode(answer, type=Open)
            out.connections += one.connections
            out.requests += one.requests
            out.uptime = max(out.uptime, one.uptime)
        return out
