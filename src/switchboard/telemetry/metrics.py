"""Prometheus metrics of the requests that are over and of what is open now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from switchboard.telemetry.records import Ledger, Record

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

#: Seconds. Streams live from a few milliseconds (an error) to ten minutes (the longest answer allowed).
_DURATIONS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 600)
_FIRST_BYTES: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)
#: Names of models come from clients; beyond this many different ones they count as "other".
_MODELS: Final = 200
_LABELS: Final = ("surface", "dialect", "provider", "model", "status", "outcome")


class Metrics:
    """Reads records into its own registry. `open_requests` and `open_connections` tell what is open when asked."""

    def __init__(self, ledger: Ledger) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        kw = {"registry": self.registry}
        self._requests = Counter("switchboard_requests", "Requests that are over.", _LABELS, **kw)
        self._duration = Histogram(
            "switchboard_request_duration_seconds",
            "From the first byte of a request to the last of its answer.",
            ("dialect", "provider"),
            buckets=_DURATIONS,
            **kw,
        )
        self._first_byte = Histogram(
            "switchboard_time_to_first_byte_seconds",
            "From the first byte of a request to the first of its answer.",
            ("dialect", "provider"),
            buckets=_FIRST_BYTES,
            **kw,
        )
        self._tokens = Counter("switchboard_tokens", "Tokens.", ("provider", "model", "direction", "counted"), **kw)
        lost = Gauge("switchboard_records_lost", "Records of requests that were thrown away unwritten.", **kw)
        lost.set_function(lambda: ledger.lost)
        self._models: set[str] = set()
        self._children: dict[tuple[object, ...], tuple[Counter, Histogram, Histogram, Counter, Counter]] = {}

    def watch(self, name: str, text: str, function: Callable[[], float]) -> None:
        """A gauge whose value `function` tells."""
        Gauge(name, text, registry=self.registry).set_function(function)

    def records(self, batch: list[Record]) -> None:
        """Count a batch of requests."""
        for r in batch:
            counted = "estimated" if r.tokens_estimated else "provider"
            key = (r.path if r.dialect else "", r.dialect, r.provider, r.model, r.status, r.outcome, counted)
            children = self._children.get(key)
            if children is None:
                children = self._labelled(r, counted)
                if len(self._children) < _MODELS * 100:
                    self._children[key] = children
            requests, duration, first_byte, tokens_in, tokens_out = children
            requests.inc()
            duration.observe(r.duration)
            if r.first_byte is not None:
                first_byte.observe(r.first_byte)
            if r.tokens_in or r.tokens_out:
                tokens_in.inc(r.tokens_in)
                tokens_out.inc(r.tokens_out)

    def _labelled(self, r: Record, counted: str) -> tuple[Counter, Histogram, Histogram, Counter, Counter]:
        model = r.model
        if model not in self._models:
            if len(self._models) < _MODELS:
                self._models.add(model)
            else:
                model = "other"
        surface = r.path if r.dialect else ""
        return (
            self._requests.labels(surface, r.dialect, r.provider, model, str(r.status), r.outcome),
            self._duration.labels(r.dialect, r.provider),
            self._first_byte.labels(r.dialect, r.provider),
            self._tokens.labels(r.provider, model, "in", counted),
            self._tokens.labels(r.provider, model, "out", counted),
        )

    def expose(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
