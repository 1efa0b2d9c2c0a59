"""``switchboard reload``: have a running server read its settings anew."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from switchboard.cli.run_file import Running, data_folder, find
from switchboard.cli.settings import read
from switchboard.config.tree import Settings

_WAIT = 10.0  # seconds that a server may take


def run(flags: Mapping[tuple[str, ...], Any], config: str | None) -> None:
    """Tell the server. Exits with 2 where the settings cannot be used, with 1 where no server takes them."""
    settings, _ = read(flags, config)
    servers = find(settings)
    if len(servers) != 1:
        print(f"switchboard: {_which(servers, settings)}", file=sys.stderr)
        raise SystemExit(1)
    before = servers[0]
    try:
        os.kill(before.pid, signal.SIGHUP)
    except OSError as e:
        print(f"switchboard: process {before.pid} cannot be signalled: {e.strerror}", file=sys.stderr)
        raise SystemExit(1) from None
    end = time.monotonic() + _WAIT
    while time.monotonic() < end:
        time.sleep(0.05)
        now = next((r for r in find(settings) if r.pid == before.pid), before)
        if now.failures > before.failures:
            print(f"switchboard: {now.message}", file=sys.stderr)
            raise SystemExit(2)
        if now.reloads > before.reloads:
            print(f"The server on port {now.port}: {now.message}.")
            return
    print(f"switchboard: the server (process {before.pid}) does not answer; see its log", file=sys.stderr)
    raise SystemExit(1)


def _which(servers: list[Running], settings: Settings) -> str:
    if not servers:
        return (
            f"no server runs with the data folder {data_folder(settings)}; "
            "name its settings file with --config, or send SIGHUP to its process"
        )
    ports = ", ".join(str(r.port) for r in servers)
    return f"several servers run, on the ports {ports}; choose one with --port"
