"""Prometheus metrics of the requests that are over and of what is open now.

Requests are added up by label (`Sums`), a few additions each, and handed to prometheus-client as samples when somebody asks:
its own counters and histograms take locks for every observation, which at a proxied request's pace is a tenth of its
whole cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from switchboard.telemetry.ledger import Ledger
from switchboard.telemetry.records import Record
from switchboard.telemetry.sums import DURATIONS, FIRST_BYTES, Sums

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: What is added up besides requests and tokens: name and text of the metric, and where it is kept.
_UNITS: Final = (
    ("switchboard_characters", "Characters that were spoken.", "characters"),
    ("switchboard_sound_seconds", "Seconds of sound that were listened to.", "sound"),
    ("switchboard_images", "Images that were drawn.", "images"),
    ("switchboard_cost_dollars", "US dollars, by public prices, where they are known.", "cost"),
)


class _Requests(Collector):
    """Tells the sums."""

    def __init__(self, sums: Sums) -> None:
        self._sums = sums.by_labels

    def collect(self) -> Iterator[Metric]:
        labels = ("path", "dialect", "provider", "model")
        requests = CounterMetricFamily(
            "switchboard_requests", "Requests that are over.", labels=(*labels, "status", "outcome")
        )
        tokens = CounterMetricFamily(
            "switchboard_tokens", "Tokens, as providers counted them or as estimated.", labels=(*labels, "direction")
        )
        estimated = CounterMetricFamily(
            "switchboard_tokens_estimated", "Those of the tokens that nobody counted.", labels=labels
        )
        durations = HistogramMetricFamily(
            "switchboard_request_duration_seconds",
            "From the head of a request to the last byte of its answer.",
            labels=(*labels, "status", "outcome"),
        )
        first_bytes = HistogramMetricFamily(
            "switchboard_time_to_first_byte_seconds",
            "From the head of a request to the first byte of its answer.",
            labels=(*labels, "status", "outcome"),
        )
        counted: dict[tuple[str, str, str, str], tuple[int, int, int]] = {}
        for (path, dialect, provider, model, status, outcome), s in self._sums.items():
            values = (path, dialect, provider, model)
            ended = [*values, str(status), str(outcome)]
            requests.add_metric(ended, s.requests)
            durations.add_metric(ended, cumulative(DURATIONS, s.durations), s.seconds)
            if s.first_byte_seconds:
                first_bytes.add_metric(ended, cumulative(FIRST_BYTES, s.first_bytes), s.first_byte_seconds)
            before = counted.get(values, (0, 0, 0))
            counted[values] = (before[0] + s.tokens_in, before[1] + s.tokens_out, before[2] + s.estimated)
        for values, (tokens_in, tokens_out, guessed) in counted.items():
            tokens.add_metric([*values, "in"], tokens_in)
            tokens.add_metric([*values, "out"], tokens_out)
            estimated.add_metric(values, guessed)
        yield from (requests, durations, first_bytes, tokens, estimated)
        yield from self._units(labels)

    def _units(self, labels: tuple[str, ...]) -> Iterator[Metric]:
        """What was used besides tokens, and what it cost."""
        for name, text, field in _UNITS:
            summed: dict[tuple[str, str, str, str], float] = {}
            for (path, dialect, provider, model, _, _), s in self._sums.items():
                value = getattr(s, field)
                if value:
                    key = (path, dialect, provider, model)
                    summed[key] = summed.get(key, 0.0) + value
            family = CounterMetricFamily(name, text, labels=labels)
            for key, value in summed.items():
                family.add_metric(key, value)
            yield family


def cumulative(bounds: tuple[float, ...], counts: list[int]) -> list[tuple[str, float]]:
    """The buckets of a histogram: `counts` are those between the `bounds`, and above the last."""
    total, out = 0, []
    for bound, count in zip((*map(str, map(float, bounds)), "+Inf"), counts, strict=True):
        total += count
        out.append((bound, float(total)))
    return out


Rows = Callable[[], Iterable[tuple[tuple[str, ...], float]]]


class _Family(Collector):
    """A metric that others keep."""

    def __init__(self, make: type[Metric], name: str, text: str, labels: tuple[str, ...], rows: Rows) -> None:
        self._make: Any = make
        self._about = (name, text)
        self._labels = labels
        self._rows = rows

    def collect(self) -> Iterator[Metric]:
        metric = self._make(*self._about, labels=self._labels)
        for labels, value in self._rows():
            metric.add_metric(labels, value)
        yield metric


class Metrics:
    """Everything that ``/metrics`` tells, in a registry of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._sums = Sums()
        self.registry.register(_Requests(self._sums))
        self.watch("switchboard_records_lost", "Records of requests thrown away unwritten.", lambda: ledger.lost)

    def watch(self, name: str, text: str, function: Callable[[], float]) -> None:
        """A gauge whose value `function` tells."""
        Gauge(name, text, registry=self.registry).set_function(function)

    def total(self, name: str, text: str, function: Callable[[], float]) -> None:
        """A counter whose value `function` tells."""
        self.family(CounterMetricFamily, name, text, (), lambda: [((), function())])

    def family(self, make: type[Metric], name: str, text: str, labels: tuple[str, ...], rows: Rows) -> None:
        """A metric with labels, whose `rows` (labels and value each) are asked for when it is read."""
        self.registry.register(_Family(make, name, text, labels, rows))

    def records(self, batch: list[Record]) -> None:
        """Count a batch of requests."""
        self._sums.add(batch)

    def expose(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
