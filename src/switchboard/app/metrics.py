"""What ``/metrics`` tells besides requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from switchboard.app.storage import Storage
from switchboard.engine.converse import FIRST_SOUND, Stats
from switchboard.engine.registry import Registry
from switchboard.engine.targets import Targets
from switchboard.net.http import UpstreamPool
from switchboard.telemetry.metrics import Metrics, Rows, cumulative

_TOTALS: Final = (
    ("seconds", "Seconds of conversations that are over.", "seconds"),
    ("interruptions", "Answers that the user broke off.", "interruptions"),
    ("dropped_frames", "Frames of sound thrown away: the other side was too slow, or not there.", "dropped"),
    ("renewals", "Sessions of a provider that went on in a new one.", "renewed"),
    ("tool_calls", "Calls of tools that run here.", "tool_calls"),
)


def tell_process(
    metrics: Metrics,
    registry: Registry,
    pools: Mapping[str | None, UpstreamPool],
    targets: Targets,
    reloads: Mapping[str, int],
) -> None:
    """Have `metrics` tell what is open, how `targets` do, and of `reloads`."""
    metrics.watch("switchboard_requests_open", "Requests under way.", lambda: len(registry.open))
    metrics.watch(
        "switchboard_upstream_connections",
        "Connections to providers, idle ones included.",
        lambda: sum(p.open for p in pools.values()),
    )
    metrics.family(
        CounterMetricFamily,
        "switchboard_attempts",
        "Calls to providers, by what became of them.",
        ("provider", "model", "result"),
        targets.attempts,
    )
    metrics.family(
        GaugeMetricFamily,
        "switchboard_target_open",
        "Whether a target is left alone after failures in a row.",
        ("provider", "model"),
        targets.open_circuits,
    )
    metrics.family(
        CounterMetricFamily,
        "switchboard_reloads",
        "Times that the settings were read anew.",
        ("result",),
        lambda: [((result,), float(n)) for result, n in reloads.items()],
    )


def tell_storage(metrics: Metrics, storage: Storage) -> None:
    """Have `metrics` tell how it stands with what is kept."""
    watch, writer = metrics.watch, storage.writer
    watch("switchboard_usage_rows_waiting", "Records of usage that are not written yet.", lambda: writer.waiting)
    watch("switchboard_usage_rows_lost", "Records of usage that could not be kept.", lambda: writer.lost)
    watch(
        "switchboard_conversations_lost", "Questions and answers that could not be kept.", lambda: storage.keeping.lost
    )
    watch("switchboard_voice_sessions", "Voice sessions that are carried.", lambda: storage.voice.carried)
    watch("switchboard_database_ready", "Whether the database can be used.", lambda: float(not storage.trouble))


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
