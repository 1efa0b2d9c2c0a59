"""What is told of a database that cannot be used: to everybody that it is so, to the log why, once."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from support.gateway import gateway, until

pytestmark = pytest.mark.anyio


async def test_a_database_that_is_not_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        nobody = s.getsockname()[1]  # nobody listens there
        url = f"postgresql://user:a-password-of-it@127.0.0.1:{nobody}/name"
        async with gateway(data=tmp_path, wait=False, database={"url": url}) as g:
            await until(lambda: "refused" in g.kept.trouble)
            for path in ("/health", "/health/ready"):
                told = (await g.ask(path)).text
                assert "refused" in told and "127.0.0.1" not in told and "a-password" not in told
            assert (await g.ask("/health/ready")).status == 503
            await asyncio.sleep(1.2)  # it tries again, and says no more
            said = caplog.text
            assert said.count("the database cannot be used") == 1 and "could not be thrown away" not in said
            assert "127.0.0.1" in said and "a-password" not in said
