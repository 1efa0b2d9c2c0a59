"""The metrics of several workers as those of one server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from switchboard.core.clock import now
from switchboard.core.process import Process
from switchboard.core.types import Usage
from switchboard.net.control import Control, Siblings
from switchboard.telemetry.gathered import Gathered, Open, merged
from switchboard.telemetry.ledger import Ledger
from switchboard.telemetry.metrics import Metrics
from switchboard.telemetry.records import Record

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parsed(text: str) -> Series:
    """Series; none may be there twice, nor any metric."""
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
    return series


def value(series: Series, name: str, **labels: str) -> float:
    """The sum of the series of that name with these labels among theirs."""
    found = [v for (n, own), v in series.items() if n == name and labels.items() <= dict(own).items()]
    assert found, f"no {name} {labels}"
    return sum(found)


def record(model: str = "m", duration: float = 0.3, **more: object) -> Record:
    values: dict[str, object] = {
        "at": 0.0,
        "request_id": "r",
        "method": "POST",
        "path": "/api/chat",
        "status": 200,
        "outcome": "complete",
        "duration": duration,
        "first_byte": 0.02,
        "dialect": "simple_chat",
        "provider": "up",
        "model": model,
        "usage": Usage(3, 5),
    }
    return Record(**(values | more))  # type: ignore[arg-type]


def worker(*records: Record, reloads: float = 0, is_open: float = 0, requests: float = 0) -> Metrics:
    metrics = Metrics(Ledger())
    metrics.records(list(records))
    metrics.watch("switchboard_requests_open", "Requests under way.", lambda: requests)
    metrics.family(
        CounterMetricFamily,
        "switchboard_reloads",
        "Times that the settings were read anew.",
        ("result",),
        lambda: [(("ok",), reloads)],
    )
    metrics.family(
        GaugeMetricFamily,
        "switchboard_target_open",
        "Whether a target is left alone after failures in a row.",
        ("provider", "model"),
        lambda: [(("up", "m"), is_open)],
    )
    return metrics


def of(*workers: Metrics) -> str:
    return merged((n, w.expose().decode()) for n, w in enumerate(workers)).decode()


def test_what_is_counted_is_summed_by_its_labels() -> None:
    names = ['a"b\\c', "line\nend", "with } and { and ,", "two  blanks ", "\x85\u2028\x0b", "m"]
    one = worker(*[record(m) for m in names], record(status=503, outcome="upstream_error"))
    two = worker(*[record(m) for m in names[3:]], *[record("only here")] * 2)
    series = parsed(of(one, two))
    assert value(series, "switchboard_requests_total") == 12
    for name in names[:3]:
        assert value(series, "switchboard_requests_total", model=name) == 1
    for name in names[3:5]:
        assert value(series, "switchboard_requests_total", model=name) == 2
    assert value(series, "switchboard_requests_total", model="m", status="200") == 2
    assert value(series, "switchboard_requests_total", model="m", status="503") == 1
    assert value(series, "switchboard_requests_total", model="only here") == 2
    assert value(series, "switchboard_tokens_total", direction="in") == 36
    assert value(series, "switchboard_tokens_total", direction="out") == 60


def test_histograms_add_up() -> None:
    series = parsed(of(worker(record(duration=0.001), record(duration=0.3)), worker(record(duration=5000)), worker()))
    name = "switchboard_request_duration_seconds"
    buckets = [(dict(own)["le"], v) for (n, own), v in series.items() if n == f"{name}_bucket"]
    ordered = [v for _, v in sorted(buckets, key=lambda b: float(b[0]))]
    assert ordered[0] == 1 and ordered == sorted(ordered)
    assert ordered[-1] == value(series, f"{name}_count") == 3
    assert value(series, f"{name}_sum") == pytest.approx(5000.301)


def test_buckets_of_one_series_stand_together() -> None:
    lines = of(worker(record("a")), worker(record("b"), record("a"))).split("\n")
    models = [line.split('model="')[1][0] for line in lines if "duration_seconds_bucket" in line]
    assert models == sorted(models)


def test_gauges() -> None:
    series = parsed(of(worker(requests=3), worker(requests=4, is_open=1, reloads=2), worker(reloads=2)))
    assert value(series, "switchboard_requests_open") == 7
    assert value(series, "switchboard_records_lost") == 0
    # what each knows of the whole, or a yes or no
    assert value(series, "switchboard_reloads_total", result="ok") == 2
    assert value(series, "switchboard_target_open", provider="up", model="m") == 1


def test_processes_are_told_apart() -> None:
    series = parsed(of(worker(), worker()))
    for n in ("0", "1"):
        assert value(series, "process_resident_memory_bytes", worker=n) > 1e6
        assert value(series, "process_cpu_seconds_total", worker=n) > 0
    assert len([1 for n, _ in series if n == "process_open_fds"]) == 2
    assert len([1 for n, _ in series if n == "python_info"]) == 1
    assert value(series, "python_info") == 1
    assert merged([(3, '# HELP process_x X.\n# TYPE process_x gauge\nprocess_x{a="b"} 1.0\n')]) == (
        b'# HELP process_x X.\n# TYPE process_x gauge\nprocess_x{a="b",worker="3"} 1.0\n'
    )


def test_one_worker_s_own_is_as_it_was_but_for_its_processes() -> None:
    text = worker(record("a"), record("b", 700)).expose().decode()
    same = [x for x in text.split("\n") if not x.startswith("process_")]
    assert [x for x in merged([(0, text)]).decode().split("\n") if not x.startswith("process_")] == same


def test_nobody_answered() -> None:
    assert merged([]) == b""
    assert merged([(0, "")]) == b""


def test_it_is_fast_enough_for_an_event_loop() -> None:
    metrics = worker(*[record(f"model-{n}", n / 10) for n in range(60)])
    text = metrics.expose().decode()
    assert text.count("\n") > 2000
    best = 1.0
    for _ in range(5):
        began = now()
        out = merged([(n, text) for n in range(8)])
        best = min(best, now() - began)
    assert best < 0.1  # 15 ms on the machine that this was written on
    assert value(parsed(out.decode()), "switchboard_requests_total") == 480


# ---- over the sockets


class House:
    """Workers of one server, in this process."""

    def __init__(self, folder: Path, *workers: Metrics) -> None:
        self.controls: list[Control] = []
        self.gathered: list[Gathered] = []
        for n, metrics in enumerate(workers):
            process = Process(n, len(workers), "boot", str(folder / "1") if len(workers) > 1 else "")
            control = Control(process)
            self.controls.append(control)
            status = Open(n, 10 * n, 100.0 + n)
            self.gathered.append(Gathered(Siblings(process, control), control, metrics, lambda s=status: s))  # type: ignore[misc]

    async def open(self) -> None:
        for c in self.controls:
            await c.open()

    def close(self) -> None:
        for c in self.controls:
            c.close()


@pytest.mark.anyio
async def test_any_worker_tells_of_all(tmp_path: Path) -> None:
    house = House(tmp_path, worker(record()), worker(record(), record("n")), worker())
    await house.open()
    for g in house.gathered:
        series = parsed((await g.metrics()).decode())
        assert value(series, "switchboard_requests_total") == 3
        assert {dict(own)["worker"] for n, own in series if n == "process_open_fds"} == {"0", "1", "2"}
        assert await g.status() == Open(3, 30, 102.0)
    # those who ask at a time are told the same, and the others are asked once
    texts = await asyncio.gather(*[house.gathered[0].metrics() for _ in range(50)])
    assert len(set(texts)) == 1
    # one that is gone is left out
    house.controls[2].close()
    assert await house.gathered[0].status() == Open(1, 10, 101.0)
    series = parsed((await house.gathered[1].metrics()).decode())
    assert {dict(own)["worker"] for n, own in series if n == "process_open_fds"} == {"0", "1"}
    house.close()


@pytest.mark.anyio
async def test_who_asks_and_leaves_does_not_keep_the_answer_from_the_others(tmp_path: Path) -> None:
    house = House(tmp_path, worker(record()), worker(record()))
    await house.open()
    first = asyncio.create_task(house.gathered[0].metrics())
    await asyncio.sleep(0)
    second = asyncio.create_task(house.gathered[0].metrics())
    await asyncio.sleep(0)
    first.cancel()
    assert value(parsed((await second).decode()), "switchboard_requests_total") == 2
    house.close()


@pytest.mark.anyio
async def test_the_only_worker_s_metrics_have_no_labels_of_workers(tmp_path: Path) -> None:
    house = House(tmp_path, worker(record()))
    await house.open()
    text = (await house.gathered[0].metrics()).decode()
    assert "worker=" not in text
    assert value(parsed(text), "switchboard_requests_total") == 1
    assert await house.gathered[0].status() == Open(0, 0, 100.0)
    assert msgspec.json.decode(await house.controls[0].answer("status", b"")) == {
        "connections": 0,
        "requests": 0,
        "uptime": 100.0,
    }
    house.close()
