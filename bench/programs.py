"""The programs of the bench: how they are built, set up, started and ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from bench.machine import GATEWAY_CORE

HERE = Path(__file__).parent
RUN = HERE / "run"
MOCK, NGINX, GATEWAY, TLS, SOCKETS = 19610, 19611, 19612, 19613, 19615
KEY = "bench-0123456789"
SETTINGS = {
    "port": GATEWAY,
    "auth": {"access_key": KEY},
    "limits": {"requests_per_minute": 1_000_000_000},
    "log": {"format": "json"},
    "providers": {
        "mock": {"base_url": f"http://127.0.0.1:{MOCK}/v1"},
        "messages": {"type": "anthropic", "base_url": f"http://127.0.0.1:{MOCK}", "api_key": "sk-ant-bench"},
    },
}


class Process:
    """A program on one core, or (None) wherever there is room. As a context it is stopped at the end."""

    def __init__(self, core: int | None, *command: object, env: dict[str, str] | None = None) -> None:
        name = Path(str(command[0])).name
        with open(RUN / f"{name}.out", "a") as out:
            self.process = subprocess.Popen(
                [*([] if core is None else ["taskset", "-c", str(core)]), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=RUN,
                env=os.environ | (env or {}),
            )
        self.pid = self.process.pid

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it, in five seconds at the most."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def answering(port: int, path: str = "/health") -> None:
    """Wait until something answers."""
    end = time.monotonic() + 20
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2).read()
            return
        except OSError:
            if time.monotonic() > end:
                raise SystemExit(f"nothing answers on port {port}; see {RUN}") from None
            time.sleep(0.05)


def build() -> None:
    """Compile the upstreams and the loads, and write the settings."""
    RUN.mkdir(exist_ok=True)
    shared = (HERE / "ws.h").stat().st_mtime
    for name in ("mock", "load", "ws_mock", "ws_load"):
        newest = max((HERE / f"{name}.c").stat().st_mtime, shared if name.startswith("ws_") else 0)
        if not (RUN / name).exists() or (RUN / name).stat().st_mtime < newest:
            subprocess.run(["gcc", "-O2", "-Wall", "-o", RUN / name, HERE / f"{name}.c"], check=True)
    write_settings(SETTINGS)


def write_settings(settings: dict[str, Any]) -> None:
    """What the next `gateway` is started with."""
    (RUN / "switchboard.yaml").write_text(json.dumps(settings))  # JSON is YAML


def nginx(name: str, core: int, port: int, tls: str = "") -> Process:
    """nginx on `core`; `tls` is what stands behind the port in its configuration."""
    text = (HERE / "nginx.conf").read_text()
    values = {"run": RUN, "name": name, "port": port, "upstream": MOCK, "sockets": SOCKETS, "tls": tls}
    for key, value in values.items():
        text = text.replace("{" + key + "}", str(value))
    conf = RUN / f"nginx-{name}.conf"
    conf.write_text(text)
    return Process(core, shutil.which("nginx") or "nginx", "-c", conf)


def gateway() -> Process:
    """Switchboard, which answers already."""
    program = Path(sys.executable).parent / "switchboard"
    p = Process(GATEWAY_CORE, program, "serve", "--config", RUN / "switchboard.yaml")
    answering(GATEWAY)
    return p


def last_json(text: str) -> dict[str, Any]:
    """The last line of `text` that is an object."""
    line = next(line for line in reversed(text.splitlines()) if line.startswith("{"))
    value: dict[str, Any] = json.loads(line)
    return value
