"""What conversations by voice add up to, as ``/metrics`` tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from switchboard.engine.converse import FIRST_SOUND, Stats
from switchboard.telemetry.metrics import Metrics, Rows, cumulative

_TOTALS: Final = (
    ("seconds", "Seconds of conversations that are over.", "seconds"),
    ("interruptions", "Answers that the user broke off.", "interruptions"),
    ("dropped_frames", "Frames of sound thrown away: the other side was too slow, or not there.", "dropped"),
    ("renewals", "Sessions of a provider that went on in a new one.", "renewed"),
    ("tool_calls", "Calls of tools that run here.", "tool_calls"),
)


def tell_conversations(metrics: Metrics, stats: Stats) -> None:
    """Have `metrics` tell `stats`."""

    def of(field: str) -> Callable[[], float]:
        return lambda: float(getattr(stats, field))

    def both(taken: str, sent: str) -> Rows:
        return lambda: [(("in",), of(taken)()), (("out",), of(sent)())]

    prefix = "switchboard_realtime_"
    metrics.watch(prefix + "open", "Conversations by voice that are open.", of("open"))
    for name, text, field in _TOTALS:
        metrics.total(prefix + name, text, of(field))
    direction = ("direction",)
    frames, size = both("frames_in", "frames_out"), both("bytes_in", "bytes_out")
    metrics.family(CounterMetricFamily, prefix + "frames", "Messages of clients, and to them.", direction, frames)
    metrics.family(CounterMetricFamily, prefix + "bytes", "Bytes in them.", direction, size)
    metrics.family(
        CounterMetricFamily,
        prefix + "untranslated",
        "Members and events that the other side's interface has no place for.",
        ("name",),
        lambda: [((name,), float(n)) for name, n in stats.lost.items()],
    )
    metrics.registry.register(_FirstSound(stats))


class _FirstSound(Collector):
    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "switchboard_realtime_first_sound_seconds",
            "From the end of what a user says to the first sound of the answer.",
        )
        family.add_metric([], cumulative(FIRST_SOUND, self._stats.first_sound), self._stats.first_sound_seconds)
        yield family
