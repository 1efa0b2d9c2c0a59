"""How long a question about usage takes over a million rows, on either database.

python -m bench.usage [--rows N]
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import http.client
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from switchboard.store import Database
from switchboard.store.schema import upgrade
from switchboard.store.usage import UsageLog
from switchboard.store.usage_row import UsageRow

KEY: Final = "bench-0123456789"
PORT: Final = 19614
_BATCH: Final = 5000
_CALLERS: Final = 60
_DAYS: Final = 30
_ASKED: Final = 30


def rows(many: int) -> list[UsageRow]:
    """Rows of the last month: of our own key, and of others, over four models."""
    chance, at = random.Random(7), int(time.time() * 1000)
    own = "key:" + hashlib.sha256(KEY.encode()).hexdigest()[:12]
    callers = [own, *[f"apikey:{n:012d}" for n in range(_CALLERS - 1)]]
    models = ["gpt-5-mini", "gpt-5", "claude-haiku-4-5", "llama3.2"]
    return [
        UsageRow(
            at=at - chance.randrange(_DAYS * 86_400_000),
            request_id=f"bench-{n}",
            caller=chance.choice(callers),
            user="",
            profile="default",
            provider="mock",
            model=chance.choice(models),
            dialect="openai_chat",
            status=200,
            outcome="complete",
            tokens_in=chance.randrange(2000),
            tokens_out=chance.randrange(500),
            cost_nano=chance.randrange(10**7),
        )
        for n in range(many)
    ]


async def fill(url: str, made: list[UsageRow]) -> None:
    """Put `made` into the database at `url`."""
    database = Database.open(url)
    database.start()
    if not await database.wait_ready(20):
        raise SystemExit(database.trouble)
    log = UsageLog(database)
    for start in range(0, len(made), _BATCH):
        await log.write(made[start : start + _BATCH])
    await database.close()


def answered(url: str, folder: Path) -> float:
    """Milliseconds that ``GET /api/usage`` takes, the median over questions by day, by model and by profile."""
    settings = {
        "port": PORT,
        "data_dir": str(folder),
        "auth": {"access_key": KEY},
        "database": {"url": url},
        "log": {"level": "ERROR"},
    }
    (folder / "switchboard.yaml").write_text(json.dumps(settings))
    program = Path(sys.executable).parent / "switchboard"
    server = subprocess.Popen([program, "serve", "--config", folder / "switchboard.yaml"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while _ask("/health/ready")[0] != 200:
            if time.monotonic() > deadline:
                raise SystemExit("the server is not ready")
            time.sleep(0.1)
        times = []
        for n in range(_ASKED):
            began = time.perf_counter()
            status, body = _ask("/api/usage?by=" + ("day", "model", "profile")[n % 3])
            times.append((time.perf_counter() - began) * 1e3)
            if status != 200 or json.loads(body)["total"]["requests"] < 1:
                raise SystemExit(f"no usage: {status} {body[:200]!r}")
        return statistics.median(times)
    finally:
        server.terminate()
        server.wait(20)


def _ask(path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()


def measure(many: int = 1_000_000) -> dict[str, float]:
    """The figure on both databases; takes a minute or two."""
    sys.path.append(str(Path(__file__).parent.parent / "tests"))
    from support.postgres import postgres_server

    made, found = rows(many), {}
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/usage.db"
        upgrade(url)
        asyncio.run(fill(url, made))
        found["usage of a million requests, SQLite"] = answered(url, Path(folder))
        with postgres_server() as server:
            url = server.create()
            asyncio.run(fill(url, made))
            found["usage of a million requests, PostgreSQL"] = answered(url, Path(folder))
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    for name, value in measure(parser.parse_args().rows).items():
        print(f"{name:<45}{value:.1f} ms")


if __name__ == "__main__":
    main()
