"""Processes on pinned cores, and what they use: CPU time and memory of a whole process tree, from /proc."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from switchboard import compiled

GATEWAY_CORE, LOAD_CORE = 0, 1


def tree(pid: int) -> list[int]:
    """`pid` and all below it."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                below.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for p in found:
        found += below.get(p, [])
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of a process tree so far, user and system, to the nanosecond."""
    total = 0
    for p in tree(pid):
        for task in Path(f"/proc/{p}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(task.read_text().split()[0])
    return total / 1e9


def resident_bytes(pid: int) -> int:
    """Resident memory of a process tree."""
    total = 0
    for p in tree(pid):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{p}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def real_time(pid: int, on: bool) -> None:
    """Schedule a process tree ahead of all other work on a shared machine, as long as something is measured."""
    policy, parameter = (os.SCHED_RR, os.sched_param(1)) if on else (os.SCHED_OTHER, os.sched_param(0))
    for p in tree(pid):
        for task in Path(f"/proc/{p}/task").glob("*"):
            with contextlib.suppress(OSError):
                os.sched_setscheduler(int(task.name), policy, parameter)


def description() -> dict[str, Any]:
    """What machine this is."""
    with open("/proc/cpuinfo") as f:
        model = next((line.partition(":")[2].strip() for line in f if line.startswith("model name")), "?")
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr.strip()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "python_optimized": "-O2"
        in (sysconfig.get_config_var("PY_CFLAGS") or "") + (sysconfig.get_config_var("OPT") or ""),
        "compiled": compiled.fresh(),
        "interpreter": Path(sys.executable).resolve().name,
        "nginx": nginx.rpartition("/")[2],
    }
