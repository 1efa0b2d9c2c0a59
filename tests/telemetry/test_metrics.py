"""The metrics: what Prometheus reads, and how many series clients can make."""

from __future__ import annotations

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from support.client import chat
from support.gateway import gateway
from switchboard.core.types import Usage
from switchboard.telemetry.ledger import Ledger
from switchboard.telemetry.metrics import Metrics
from switchboard.telemetry.records import Record

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> tuple[list[Metric], Series]:
    """Families and series; no series may be there twice."""
    families = list(text_string_to_metric_families(text))
    names = [f.name for f in families]
    assert len(names) == len(set(names))
    series: Series = {}
    for family in families:
        assert family.documentation
        assert family.type != "unknown"
        for s in family.samples:
            key = (s.name, tuple(sorted(s.labels.items())))
            assert key not in series
            series[key] = s.value
    return families, series


def record(**more: object) -> Record:
    values: dict[str, object] = {
        "at": 0.0,
        "request_id": "r",
        "method": "POST",
        "path": "/api/chat",
        "status": 200,
        "outcome": "complete",
        "duration": 0.3,
        "first_byte": 0.02,
        "dialect": "simple_chat",
        "provider": "up",
        "model": "m",
        "usage": Usage(3, 5),
    }
    return Record(**(values | more))  # type: ignore[arg-type]


def counted(*records: Record) -> Series:
    metrics = Metrics(Ledger())
    metrics.records(list(records))
    return parsed(metrics.expose().decode())[1]


def value(series: Series, name: str, **labels: str) -> float:
    """The sum of the series of that name with these labels among theirs."""
    found = [v for (n, own), v in series.items() if n == name and labels.items() <= dict(own).items()]
    assert found, f"no {name} {labels}"
    return sum(found)


def test_sums() -> None:
    series = counted(
        record(), record(), record(model="n", status=503, outcome="upstream_error", usage=Usage(3, 5, estimated=True))
    )
    assert value(series, "switchboard_requests_total") == 3
    assert value(series, "switchboard_requests_total", model="m", status="200", outcome="complete") == 2
    assert value(series, "switchboard_requests_total", outcome="upstream_error", status="503") == 1
    assert value(series, "switchboard_tokens_total", direction="in") == 9
    assert value(series, "switchboard_tokens_total", direction="out", model="n") == 5
    assert value(series, "switchboard_tokens_estimated_total", model="n") == 8
    assert value(series, "switchboard_tokens_estimated_total", model="m") == 0


def test_histograms_add_up() -> None:
    series = counted(*[record(duration=d, first_byte=d / 2) for d in (0.001, 0.01, 0.3, 2, 5000)])
    for name in ("switchboard_request_duration_seconds", "switchboard_time_to_first_byte_seconds"):
        buckets = [(dict(own)["le"], v) for (n, own), v in series.items() if n == f"{name}_bucket"]
        ordered = [v for _, v in sorted(buckets, key=lambda b: float(b[0]))]
        assert ordered == sorted(ordered)
        assert ordered[-1] == value(series, f"{name}_count") == 5
    assert value(series, "switchboard_request_duration_seconds_sum") == pytest.approx(5002.311)
    # a bound belongs to its bucket
    assert value(series, "switchboard_request_duration_seconds_bucket", le="0.01") == 2


def test_what_was_never_sent_has_no_first_byte() -> None:
    series = counted(record(first_byte=None, status=401, outcome="refused"))
    assert not any(n.startswith("switchboard_time_to_first_byte") for n, _ in series)


def test_models_that_clients_invent_do_not_make_series_without_end() -> None:
    series = counted(*[record(model=f"invented-{n}") for n in range(5000)])
    models = {dict(own)["model"] for n, own in series if n == "switchboard_requests_total"}
    assert len(models) <= 201
    assert "other" in models
    assert value(series, "switchboard_requests_total") == 5000
    assert value(series, "switchboard_tokens_total", direction="in") == 15_000


def test_paths_that_clients_invent_make_no_series() -> None:
    series = counted(*[record(path=f"/invented/{n}", dialect="", provider="", model="") for n in range(5000)])
    assert len([n for n, _ in series if n == "switchboard_requests_total"]) == 1


def test_a_model_named_other_and_one_with_quotes() -> None:
    names = ["other", 'a"b\\c', "line\nend", *[f"m{n}" for n in range(300)]]
    series = counted(*[record(model=m) for m in names])
    assert value(series, "switchboard_requests_total") == len(names)
    assert value(series, "switchboard_requests_total", model='a"b\\c') == 1


def test_the_process_and_what_was_lost() -> None:
    ledger = Ledger(size=1)
    metrics = Metrics(ledger)
    for _ in range(3):
        ledger.put(record())
    _, series = parsed(metrics.expose().decode())
    assert value(series, "switchboard_records_lost") == 2
    assert value(series, "process_resident_memory_bytes") > 1e6


@pytest.mark.anyio
async def test_metrics_of_a_gateway(shell: str) -> None:
    async with gateway(shell) as g:
        for n in range(3):
            await g.ask("/api/chat", chat(f"a b {n}"))
        await g.ask("/api/chat", chat(model="error-500"))
        await g.ask("/v1/chat/completions", chat(model="nonesuch"))
        for n in range(20):
            await g.ask(f"/nothing/{n}")
        assert len(g.records) == 25
        a = await g.ask("/metrics")
        assert (a.status, a.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        families, series = parsed(a.text)
        assert {f.name for f in families} >= {
            "switchboard_requests",
            "switchboard_tokens",
            "switchboard_request_duration_seconds",
            "switchboard_time_to_first_byte_seconds",
            "switchboard_requests_open",
            "switchboard_upstream_connections",
            "switchboard_records_lost",
        }
        chats = {"path": "/api/chat", "model": "echo", "provider": "offline", "status": "200", "outcome": "complete"}
        assert value(series, "switchboard_requests_total", **chats) == 3
        assert value(series, "switchboard_tokens_total", direction="in", model="echo") == 9
        assert value(series, "switchboard_requests_total", status="404", path="") == 20
        assert value(series, "switchboard_requests_open") == 0


@pytest.mark.anyio
async def test_models_that_nobody_serves_are_no_labels(shell: str) -> None:
    async with gateway(shell) as g:
        for n in range(30):
            await g.ask("/api/chat", chat(model=f"invented-{n}"))
            await g.ask("/v1/chat/completions", chat(model=f"invented-{n}"))
        assert len(g.records) == 60
        assert "invented" not in (await g.ask("/metrics")).text
