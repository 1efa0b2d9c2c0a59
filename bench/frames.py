"""Conversations by voice beside nginx as a WebSocket proxy: CPU time a relayed frame, delay, sessions held, memory a session.

A frame is a message of 4500 bytes, one event of the Realtime interface with 3.3 KB of sound. Clients say 50 a second on each
session, and the provider as many. Both ends (`ws_load.c`, `ws_mock.c`) count what comes, in which order and whole, and how
long it was on its way since it was due. Passed frames are those of a GA client before a GA provider; translated ones those of a
beta client.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
import urllib.request
from typing import Any, Final

from bench.machine import GATEWAY_CORE, LOAD_CORE, cpu_seconds, real_time, resident_bytes
from bench.programs import (
    GATEWAY,
    KEY,
    MOCK,
    NGINX,
    RUN,
    SETTINGS,
    SOCKETS,
    Process,
    answering,
    gateway,
    nginx,
    write_settings,
)

_SITUATIONS: Final = {"100 sessions": 100, "400 sessions": 400}

#: Figure, the most it may be (of those in `AT_LEAST` the least), and in what it is said.
LIMITS: Final = {
    **{f"frame passed, {name}": (3.0, "× nginx") for name in _SITUATIONS},
    **{f"frame translated, {name}": (6.0, "× nginx") for name in _SITUATIONS},
    "frame passed, flat out": (None, "× nginx"),
    "frame translated, flat out": (None, "× nginx"),
    "delay added, frame passed": (5.0, "ms"),
    "delay added, frame translated": (5.0, "ms"),
    "sessions held": (500.0, ""),
    "idle session": (60.0, "KB"),
}
AT_LEAST: Final = frozenset({"sessions held"})

_MANY = 1_000_000_000
_SETTINGS: Final = SETTINGS | {
    "limits": {
        "requests_per_minute": _MANY,
        "voice_connects_per_minute": _MANY,
        "voice_sessions": _MANY,
    },
    "providers": {
        "mock": {
            "base_url": f"http://127.0.0.1:{MOCK}/v1",
            "realtime_url": f"ws://127.0.0.1:{SOCKETS}/v1/realtime",
        }
    },
}
_PASSED: Final = ("/v1/realtime", "response.output_audio.delta")
_TRANSLATED: Final = ("/api/realtime", "response.audio.delta")
_A_SECOND: Final = 50  # frames, each way
_GAP: Final = 1_000_000 // _A_SECOND  # µs
_FLAT_OUT: Final = 20  # sessions, on which nobody waits between frames
_MOST: Final = 500  # sessions that the search begins with; it goes on in steps of `_STEP`
_STEP: Final = 25
_IN_TIME: Final = 250.0  # ms: the slowest of 100 frames, where sessions are held
_IDLE: Final = 1000  # sessions


Situations = dict[str, dict[str, float]]


class Conversations:
    """Sessions at `port`, open until `close`; each side says `frames`, `gap` µs apart. Opening takes 30 s at the most, what
    is said five seconds longer than it should (flat out, 30 s)."""

    def __init__(self, port: int, way: tuple[str, str], sessions: int, frames: int, gap: int = _GAP) -> None:
        path, kind = way
        self.expected = sessions * frames
        pinned = ["chrt", "-r", "1"] if os.geteuid() == 0 else []
        command = [RUN / "ws_load", port, path, sessions, frames, gap, kind, f"authorization: Bearer {KEY}"]
        self._load = subprocess.Popen(
            [*pinned, "taskset", "-c", str(LOAD_CORE), *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        told = self._line()
        self.trouble = "" if told["open"] == sessions else f"{told['open']} of {sessions} sessions opened"

    def _line(self) -> dict[str, Any]:
        assert self._load.stdout is not None
        line = self._load.stdout.readline()
        if not line:
            raise SystemExit(f"ws_load ended: {self._load.communicate()[1]}")
        value: dict[str, Any] = json.loads(line)
        return value

    def _go_on(self) -> None:
        assert self._load.stdin is not None
        self._load.stdin.write("\n")
        self._load.stdin.flush()

    def say(self, mock: Process, server: Process | None = None) -> dict[str, float]:
        """Have everything said: the CPU time of `server` ("µs" a frame, and the part of a "core" that it is), the slowest of
        100 frames ("p99", ms, of the direction where it is longer), and how "late" the ends were with their own turns. `trouble`
        tells whether something was lost."""
        report()  # what was counted before
        processes = [mock] if server is None else [mock, server]
        for p in processes:
            real_time(p.pid, True)
        before = 0.0 if server is None else cpu_seconds(server.pid)
        self._go_on()
        load = self._line()
        used = 0.0 if server is None else cpu_seconds(server.pid) - before
        for p in processes:
            real_time(p.pid, False)
        upstream = report()
        if any(p.process.poll() is not None for p in processes):
            raise SystemExit(f"a program has ended; see {RUN}")
        counts = {"sent": load["sent"], "came back": load["heard"]}
        counts |= {"arrived": upstream["heard"], "sent back": upstream["sent"]}
        wrong = load["wrong"] + upstream["wrong"]
        if wrong or load["failed"] or set(counts.values()) != {self.expected}:
            self.trouble = (
                self.trouble or f"of {self.expected} frames: {counts}, {wrong} wrong, {load['failed']} failed"
            )
        return {
            "µs": used / max(load["heard"] + upstream["heard"], 1) * 1e6,
            "core": used / load["seconds"],
            "p50": max(load["p50_us"], upstream["p50_us"]) / 1e3,
            "p99": max(load["p99_us"], upstream["p99_us"]) / 1e3,
            "late": max(load["late_p99_us"], upstream["late_p99_us"]) / 1e3,
        }

    def close(self) -> None:
        """Close the sessions."""
        try:
            _, said = self._load.communicate("\n\n", timeout=15)
        except subprocess.TimeoutExpired:
            self._load.kill()
            self._load.communicate()
            raise SystemExit("ws_load did not end") from None
        if said and not self.trouble:
            self.trouble = said[:500]


def report() -> dict[str, Any]:
    """What the provider counted since it was last asked."""
    with urllib.request.urlopen(f"http://127.0.0.1:{SOCKETS}/report", timeout=5) as answer:
        value: dict[str, Any] = json.loads(answer.read())
    return value


def said(
    mock: Process, port: int, way: tuple[str, str], sessions: int, seconds: int, server: Process | None = None
) -> dict[str, float]:
    """What `Conversations.say` tells of a run in which nothing may be lost."""
    flat_out = sessions == _FLAT_OUT
    frames, gap = (seconds * 1000, 0) if flat_out else (seconds * _A_SECOND, _GAP)
    talk = Conversations(port, way, sessions, frames, gap)
    found = talk.say(mock, server)
    talk.close()
    if talk.trouble:
        raise SystemExit(f"port {port}, {way[0]}: {talk.trouble}")
    return found


def situations(mock: Process, port: int, way: tuple[str, str], seconds: int, server: Process) -> Situations:
    """What `said` tells of each situation."""
    every = _SITUATIONS | {"flat out": _FLAT_OUT}
    return {name: said(mock, port, way, sessions, seconds, server) for name, sessions in every.items()}


def delays(mock: Process, server: Process, times: int) -> dict[str, float]:
    """How long the slowest of 100 frames is on its way (ms), directly and through `server`. One second of each takes turns, and
    the median of their seconds stands for each, so that what halts the whole machine for a moment is not taken for a delay."""
    found: dict[str, list[float]] = {}
    for _ in range(times):
        for name, port, way, program in (
            ("direct", SOCKETS, _PASSED, None),
            ("passed", GATEWAY, _PASSED, server),
            ("translated", GATEWAY, _TRANSLATED, server),
        ):
            found.setdefault(name, []).append(said(mock, port, way, 100, 1, program)["p99"])
    return {name: statistics.median(values) for name, values in found.items()}


def round_of(rows: dict[str, list[float]], raw: dict[str, list[float]], seconds: int, mock: Process) -> None:
    """Measure nginx, the direct way and Switchboard once."""
    with nginx("proxy", GATEWAY_CORE, NGINX) as n:
        answering(NGINX)
        said(mock, NGINX, _PASSED, 100, 1, n)
        base = situations(mock, NGINX, _PASSED, seconds, n)
    with gateway() as g:
        said(mock, GATEWAY, _PASSED, 100, 1, g)
        ways = {
            "passed": situations(mock, GATEWAY, _PASSED, seconds, g),
            "translated": situations(mock, GATEWAY, _TRANSLATED, seconds, g),
        }
        slowest = delays(mock, g, 2 * seconds - 1)
    found: dict[str, float] = {}
    times = {f"nginx frame, {name}": run["µs"] for name, run in base.items()}
    for way, runs in ways.items():
        found |= {f"frame {way}, {name}": run["µs"] / base[name]["µs"] for name, run in runs.items()}
        found[f"delay added, frame {way}"] = slowest[way] - slowest["direct"]
        times |= {f"frame {way}, {name}": run["µs"] for name, run in runs.items()}
    times |= {f"slowest of 100 frames, {name}": value * 1e3 for name, value in slowest.items()}
    for table, values in ((rows, found), (raw, times)):
        for name, value in values.items():
            table.setdefault(name, []).append(value)


def held(mock: Process, sessions: int, seconds: int) -> bool:
    """Whether one core holds `sessions`: nothing is lost, and what is said is in time."""
    with gateway() as g:
        talk = Conversations(GATEWAY, _PASSED, sessions, seconds * _A_SECOND)
        found = talk.say(mock, g)
        talk.close()
    held = not talk.trouble and found["p99"] < _IN_TIME
    print(
        f"  {sessions} sessions: {'held' if held else 'not held'}, p50 {found['p50']:.1f} ms, p99 {found['p99']:.1f} ms "
        f"(the ends' own delay {found['late']:.1f}), "
        f"{found['µs']:.1f} µs a frame, {found['core']:.0%} of a core{', ' + talk.trouble if talk.trouble else ''}",
        flush=True,
    )
    return held


def sessions_held(mock: Process, seconds: int) -> int:
    """The most sessions that one core holds, to the nearest `_STEP` below; no more than `_MOST` are tried. Takes five runs at
    the most."""
    if held(mock, _MOST, seconds):
        return _MOST
    least, most = 0, _MOST // _STEP  # in steps: held, not held
    while most - least > 1:
        middle = (least + most) // 2
        if held(mock, middle * _STEP, seconds):
            least = middle
        else:
            most = middle
    return least * _STEP


def idle_session(mock: Process) -> float:
    """KB of resident memory for each of 1000 sessions on which something was said, and nothing is any more."""
    with gateway() as g:
        before = after = 0
        for many in (20, _IDLE):  # the first are there for what is loaded and kept once
            before = resident_bytes(g.pid)
            talk = Conversations(GATEWAY, _PASSED, many, 3, 1_000_000)
            talk.say(mock, g)
            time.sleep(1)
            after = resident_bytes(g.pid)
            talk.close()
            if talk.trouble:
                raise SystemExit(f"idle sessions: {talk.trouble}")
    return (after - before) / _IDLE / 1000


def measure(rows: dict[str, list[float]], raw: dict[str, list[float]], rounds: int, seconds: int) -> None:
    """Put all figures into `rows`, and the times (µs) into `raw`; takes five minutes with three rounds of 5 seconds."""
    write_settings(_SETTINGS)
    try:
        with Process(LOAD_CORE, RUN / "ws_mock", SOCKETS) as mock:
            answering(SOCKETS)
            for n in range(rounds):
                print(f"frames, round {n + 1} of {rounds}", flush=True)
                round_of(rows, raw, seconds, mock)
            rows["sessions held"] = [float(sessions_held(mock, seconds + 3))]
            rows["idle session"] = [idle_session(mock)]
    finally:
        write_settings(SETTINGS)
