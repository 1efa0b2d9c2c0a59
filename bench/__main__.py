"""Measure Switchboard beside nginx, in the same run, on pinned cores: CPU time a request and a chunk, memory a stream.

The gateway (or nginx) has core 0 to itself; the upstream, in C, and the load share core 1. Everything is on: access key,
rate limit, log, metrics, usage. Ratios to nginx are what counts; the times themselves are this machine's.

    python -m bench [--rounds N] [--quick] [--only PART]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trustme

from bench import frames, usage, voice
from bench.machine import GATEWAY_CORE, LOAD_CORE, cpu_seconds, description, real_time, resident_bytes
from bench.programs import (
    GATEWAY,
    HERE,
    KEY,
    MOCK,
    NGINX,
    RUN,
    SETTINGS,
    TLS,
    Process,
    answering,
    build,
    gateway,
    last_json,
    nginx,
    write_settings,
)

BODY = json.dumps(
    {
        "model": "mock-100-0",
        "messages": [
            {"role": "system", "content": "You answer in short sentences."},
            {"role": "user", "content": "Tell me in a few words what a gateway does, and why it should be fast."},
        ],
        "temperature": 0.7,
    }
)
EMBEDDINGS = json.dumps({"model": "vectors", "input": "A gateway passes things on.", "encoding_format": "base64"})
SPEECH = json.dumps({"model": "voice", "input": "A gateway passes things on.", "voice": "alloy"})

#: What can be measured by itself.
PARTS = ("requests", "streams", "frames", "voice", "usage")

#: What has to hold: figure, the most it may be, and in what it is said.
LIMITS: dict[str, tuple[float | None, str]] = {
    "request": (3.0, "× nginx"),
    "chunk, 50 streams": (1.8, "× nginx"),
    "chunk, 200 streams": (1.8, "× nginx"),
    "chunk, flat out": (1.8, "× nginx"),
    "chunk to simple, 50 streams": (2.5, "× nginx"),
    "chunk to simple, 200 streams": (2.5, "× nginx"),
    "chunk to simple, flat out": (2.5, "× nginx"),
    "chunk from Anthropic, 50 streams": (3.0, "× nginx"),
    "chunk from Anthropic, 200 streams": (3.0, "× nginx"),
    "chunk from Anthropic, flat out": (3.0, "× nginx"),
    "embeddings request": (4.0, "× nginx"),
    "1 MB of sound": (1.5, "× nginx"),
    **frames.LIMITS,
    **voice.LIMITS,
    "open stream": (30.0, "KB"),
    "at rest": (80.0, "MB"),
    "usage of a million requests, SQLite": (100.0, "ms"),
    "usage of a million requests, PostgreSQL": (100.0, "ms"),
}


def load(*command: object, env: dict[str, str] | None = None) -> dict[str, Any]:
    pinned = ["chrt", "-r", "1"] if os.geteuid() == 0 else []
    pinned += ["taskset", "-c", str(LOAD_CORE), *map(str, command)]
    done = subprocess.run(
        pinned, capture_output=True, text=True, timeout=120, check=False, env=os.environ | (env or {})
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stderr}")
    result = last_json(done.stdout)
    if result["failed"]:
        raise SystemExit(f"{command[0]}: {result['failed']} failed; {done.stderr[:500]}")
    return result


def requests(
    port: int, seconds: int, path: str = "/v1/chat/completions", body: str = BODY, connections: int = 32
) -> dict[str, Any]:
    url = f"http://127.0.0.1:{port}{path}"
    env = {"BENCH_BODY": body, "BENCH_AUTHORIZATION": f"Bearer {KEY}"}
    return load("wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", HERE / "request.lua", url, env=env)


def streams(port: int, path: str, connections: int, seconds: float, model: str) -> dict[str, Any]:
    return load(RUN / "load", port, path, connections, seconds, model, f"authorization: Bearer {KEY}")


def cost(server: Process, mock: Process, run: Callable[[], dict[str, Any]], unit: str) -> float:
    """CPU time of `server` for each `unit` of `run`, in µs, with what it has still to do afterwards."""
    for p in (server, mock):
        real_time(p.pid, True)
    before = cpu_seconds(server.pid)
    result = run()
    used = rested(server) - before
    for p in (server, mock):
        real_time(p.pid, False)
    return used / float(result[unit]) * 1e6


def rested(server: Process) -> float:
    """Wait until `server` has nothing left to do (rows to write, say); its CPU time so far, in seconds."""
    used = cpu_seconds(server.pid)
    for _ in range(100):
        time.sleep(0.1)
        before, used = used, cpu_seconds(server.pid)
        if used - before < 0.002:
            break
    return used


def costs(
    server: Process, mock: Process, port: int, seconds: int, path: str = "/v1/chat/completions", provider: str = ""
) -> dict[str, float]:
    """What chunks cost in each situation, in µs. `provider` goes before the model's name."""
    situations = {
        "50 streams": (50, f"{provider}mock-100-10000"),
        "200 streams": (200, f"{provider}mock-100-10000"),
        "flat out": (20, f"{provider}mock-100-0"),
    }
    return {
        name: cost(server, mock, lambda n=n, model=model: streams(port, path, n, seconds, model), "events")  # type: ignore[misc]
        for name, (n, model) in situations.items()
    }


def media(server: Process, mock: Process, port: int, seconds: int) -> dict[str, float]:
    """What an embeddings request and 1 MB of sound cost, in µs."""
    kinds = {
        "embeddings request": ("/v1/embeddings", EMBEDDINGS, 32),
        "1 MB of sound": ("/v1/audio/speech", SPEECH, 8),
    }
    return {
        name: cost(server, mock, lambda path=path, body=body, n=n: requests(port, seconds, path, body, n), "requests")  # type: ignore[misc]
        for name, (path, body, n) in kinds.items()
    }


def round_of(rows: dict[str, list[float]], raw: dict[str, list[float]], seconds: int, mock: Process) -> None:
    """Measure nginx and Switchboard once."""
    n = nginx("proxy", GATEWAY_CORE, NGINX)
    answering(NGINX)
    requests(NGINX, 1)
    base_request = cost(n, mock, lambda: requests(NGINX, seconds), "requests")
    base = costs(n, mock, NGINX, seconds)
    base_media = media(n, mock, NGINX, seconds)
    n.stop()
    g = gateway()
    rest = resident_bytes(g.pid)
    requests(GATEWAY, 1)
    request = cost(g, mock, lambda: requests(GATEWAY, seconds), "requests")
    passed = costs(g, mock, GATEWAY, seconds)
    simple = costs(g, mock, GATEWAY, seconds, "/api/chat?format=simple")
    translated = costs(g, mock, GATEWAY, seconds, provider="messages/")
    own_media = media(g, mock, GATEWAY, seconds)
    g.stop()
    found = {"request": request / base_request, "at rest": rest / 1e6}
    found |= {f"chunk, {k}": v / base[k] for k, v in passed.items()}
    found |= {f"chunk to simple, {k}": v / base[k] for k, v in simple.items()}
    found |= {f"chunk from Anthropic, {k}": v / base[k] for k, v in translated.items()}
    found |= {name: own_media[name] / value for name, value in base_media.items()}
    for name, value in found.items():
        rows.setdefault(name, []).append(value)
    times = {"nginx request": base_request, "request": request}
    times |= {f"nginx chunk, {k}": v for k, v in base.items()} | {f"chunk, {k}": v for k, v in passed.items()}
    times |= {f"chunk to simple, {k}": v for k, v in simple.items()}
    times |= {f"chunk from Anthropic, {k}": v for k, v in translated.items()}
    times |= {f"nginx {k}": v for k, v in base_media.items()} | own_media
    for name, value in times.items():
        raw.setdefault(name, []).append(value)


def open_streams(tls: bool) -> float:
    """KB of resident memory for each of 1000 open streams."""
    p = None
    settings = SETTINGS
    if tls:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(RUN / "ca.pem"))
        certificate = authority.issue_cert("localhost")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(RUN / "server.pem"))
        p = nginx(
            "tls", LOAD_CORE, TLS, f" ssl; ssl_certificate {RUN}/server.pem; ssl_certificate_key {RUN}/server.pem; #"
        )
        row = {"base_url": f"https://localhost:{TLS}/v1", "ca_file": str(RUN / "ca.pem")}
        settings = SETTINGS | {"providers": {"mock": row}}
        time.sleep(0.5)
    write_settings(settings)
    g = gateway()
    requests(GATEWAY, 1)
    before = resident_bytes(g.pid)
    command = [
        RUN / "load",
        GATEWAY,
        "/v1/chat/completions",
        1000,
        8,
        "mock-60-1000000",
        f"authorization: Bearer {KEY}",
    ]
    loading = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True)
    most = 0
    while loading.poll() is None:
        time.sleep(0.25)
        most = max(most, resident_bytes(g.pid))
    assert loading.stdout is not None
    result = last_json(loading.stdout.read())
    g.stop()
    if p is not None:
        p.stop()
        write_settings(SETTINGS)
    if result["failed"] or result["events"] < 4000:
        raise SystemExit(f"the streams did not stay open: {result}")
    return (most - before) / 1000 / 1000


def offline_voice() -> dict[str, float]:
    """The figures of the offline voice, its workers on all cores."""
    write_settings({"port": GATEWAY, "log": {"format": "json"}})
    program = Path(sys.executable).parent / "switchboard"
    p = Process(None, program, "serve", "--config", RUN / "switchboard.yaml")
    answering(GATEWAY)
    found = voice.measure(GATEWAY)
    p.stop()
    write_settings(SETTINGS)
    return found


def measured(parts: list[str], rounds: int, seconds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """The figures of `parts`, and the times (µs) that they come of."""
    rows: dict[str, list[float]] = {}
    raw: dict[str, list[float]] = {}
    mock = Process(LOAD_CORE, RUN / "mock", MOCK)
    try:
        answering(MOCK)
        for n in range(rounds if "requests" in parts else 0):
            print(f"round {n + 1} of {rounds}", flush=True)
            round_of(rows, raw, seconds, mock)
        if "streams" in parts:
            rows["open stream"] = [open_streams(tls=False)]
            rows["open stream, TLS upstream"] = [open_streams(tls=True)]
        if "frames" in parts:
            frames.measure(rows, raw, rounds, seconds)
        if "voice" in parts:
            rows |= {name: [value] for name, value in offline_voice().items()}
        if "usage" in parts:
            rows |= {name: [value] for name, value in usage.measure().items()}
    finally:
        mock.stop()
    return rows, raw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured; medians are told")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", choices=PARTS, action="append", help="this part, the others stay in results.json")
    arguments = parser.parse_args()
    rounds, seconds = (1, 2) if arguments.quick else (arguments.rounds, 5)
    parts = arguments.only or [p for p in PARTS if p != "usage" or not arguments.quick]
    build()
    machine = description()
    print(", ".join(f"{k} {v}" for k, v in machine.items()), flush=True)
    rows, raw = measured(parts, rounds, seconds)
    report(machine, rows, raw, keep=bool(arguments.only))


def report(machine: dict[str, Any], rows: dict[str, list[float]], raw: dict[str, list[float]], keep: bool) -> None:
    """Print the figures, and write them to results.json, which may `keep` others of this machine."""
    print(f"\n{'figure':40}{'median':>9}{'limit':>9}")
    found = {}
    for name, values in rows.items():
        median = statistics.median(values)
        limit, unit = LIMITS.get(name, (None, "KB"))
        least = name in frames.AT_LEAST
        verdict = ""
        if limit is not None:
            verdict = "ok" if median == limit or (median > limit) is least else "UNDER" if least else "OVER"
        print(f"{name:42}{median:9.2f}{limit if limit is not None else '':>9} {unit:8}{verdict}")
        found[name] = {"median": median, "values": values, "limit": limit, "unit": unit}
    print(f"\n{'time, µs':42}{'median':>9}")
    for name, values in raw.items():
        print(f"{name:42}{statistics.median(values):9.2f}")
    path = HERE / "results.json"
    result = {"machine": machine, "figures": found, "microseconds": raw}
    if keep and path.exists():
        before = json.loads(path.read_text())
        if before["machine"] == machine:
            result["figures"] = before["figures"] | found
            result["microseconds"] = before["microseconds"] | raw
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\nwritten to {HERE.name}/results.json")


if __name__ == "__main__":
    main()
