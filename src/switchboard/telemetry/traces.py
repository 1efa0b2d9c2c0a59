"""Spans for OpenTelemetry, sent by OTLP over HTTP: one for each request, and inside it one for the call to a provider.

They are made of the records of requests that are over, with the ids that were given out when they began (and that the
provider has seen in ``traceparent``). Needs the extra ``otel``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import AttributeValue

from switchboard import __version__
from switchboard.core.types import Outcome, SpanIds
from switchboard.telemetry import names
from switchboard.telemetry.records import Record

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_CLOSE_TIME: Final = 3.0  # seconds that the last spans have to get away
_FINE: Final = frozenset({Outcome.COMPLETE, Outcome.CLIENT_LEFT})


class _Given(IdGenerator):
    """Gives the ids that a request already has."""

    def __init__(self) -> None:
        self.trace = 0
        self.span = 0

    def generate_trace_id(self) -> int:
        return self.trace

    def generate_span_id(self) -> int:
        return self.span


class Traces:
    """Makes spans of records and has them sent in the background; at most a few thousand wait.

    `endpoint` is the collector's (``http://localhost:4318``); `kind_of` tells the kind of a provider of the settings.
    """

    def __init__(
        self, endpoint: str, *, service: str, headers: Mapping[str, str], kind_of: Callable[[str], str]
    ) -> None:
        self._ids = _Given()
        self._kind_of = kind_of
        resource = Resource.create({"service.name": service, "service.version": __version__})
        self._provider = TracerProvider(id_generator=self._ids, resource=resource)
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", headers=dict(headers))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("switchboard", __version__)

    def records(self, batch: list[Record]) -> None:
        """Make the spans of a batch of requests."""
        for r in batch:
            if r.span is not None:
                self._spans(r, r.span)

    def _spans(self, r: Record, ids: SpanIds) -> None:
        end = int(r.at * 1e9)
        start = end - int(r.duration * 1e9)
        told: dict[str, AttributeValue] = {
            names.METHOD: r.method,
            names.PATH: r.path,
            names.STATUS: r.status,
            names.REQUEST_ID: r.request_id,
            names.OUTCOME: str(r.outcome),
        }
        if r.profile:
            told[names.PROFILE] = r.profile
        # paths with something of the client's in them would make names without number
        name = f"{r.method} {r.path}" if r.dialect else r.method
        self._span(name, ids.trace, ids.parent, ids.server, SpanKind.SERVER, told, start, end, r)
        if r.provider:
            self._span(
                f"{names.CHAT} {r.model}",
                ids.trace,
                ids.server,
                ids.client,
                SpanKind.CLIENT,
                self._call(r),
                start + int(r.called * 1e9),
                end,
                r,
            )

    def _call(self, r: Record) -> dict[str, AttributeValue]:
        kind = self._kind_of(r.provider)
        told: dict[str, AttributeValue] = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: names.PROVIDERS.get(kind, kind),
            names.PROVIDER_ROW: r.provider,
            names.REQUEST_MODEL: r.model,
            names.STREAM: r.streamed,
            names.DIALECT: r.dialect,
            names.ATTEMPTS: r.attempts,
            names.INPUT_TOKENS: r.tokens_in,
            names.OUTPUT_TOKENS: r.tokens_out,
            names.ESTIMATED: r.tokens_estimated,
        }
        if r.first_byte is not None and r.streamed:
            told[names.FIRST_CHUNK] = max(0.0, r.first_byte - r.called)
        return told

    def _span(
        self,
        name: str,
        trace_id: str,
        parent: str,
        span_id: str,
        kind: SpanKind,
        attributes: dict[str, AttributeValue],
        start: int,
        end: int,
        r: Record,
    ) -> None:
        self._ids.trace, self._ids.span = int(trace_id, 16), int(span_id, 16)
        context = None
        if parent:
            above = SpanContext(int(trace_id, 16), int(parent, 16), is_remote=True, trace_flags=_SAMPLED)
            context = trace.set_span_in_context(NonRecordingSpan(above))
        if r.outcome not in _FINE:
            attributes[names.ERROR] = r.error or str(r.outcome)
        span = self._tracer.start_span(name, context, kind=kind, attributes=attributes, start_time=start)
        if r.outcome not in _FINE and (kind is SpanKind.CLIENT or r.status >= 500 or r.status == 200):
            span.set_status(Status(StatusCode.ERROR, r.error))
        span.end(end)

    def flush(self, seconds: float = _CLOSE_TIME) -> bool:
        """Send what waits now. Blocks, so call it from a thread; False where it could not be sent within `seconds`."""
        return self._provider.force_flush(int(seconds * 1000))

    def close(self) -> None:
        """Send what waits, for a moment at most."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_CLOSE_TIME)
