"""The HTTP side of calls over WebRTC, for tests: answers offers with SDP, and notes which calls were ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from typing import Any, Final

ANSWER: Final = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=answer\r\n"


class SdpServer:
    """What it heard: the `offers` (form fields each), the ids of calls that were `ended`, the keys that were shown. `status` is
    what it answers offers with, once `ready`; keys other than `key` it refuses, where that is set."""

    def __init__(self) -> None:
        self.port = 0
        self.offers: list[dict[str, Any]] = []
        self.ended: list[str] = []
        self.keys: list[str] = []
        self.status = 201
        self.key = ""
        self.ready = asyncio.Event()
        self.ready.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lines = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                body = await reader.readexactly(int(lines.get("content-length", "0")))
                raw = {k: v for k, _, v in (line.partition(": ") for line in head.split("\r\n"))}
                self.keys.append(lines.get("authorization", ""))
                path = head.split(" ")[1]
                if path.endswith("/hangup"):
                    self.ended.append(path.split("/")[-2])
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    continue
                assert path == "/v1/realtime/calls", path
                self.offers.append(_form(next(v for k, v in raw.items() if k.lower() == "content-type"), body))
                await self.ready.wait()
                status = self.status if not self.key or self.keys[-1] == f"bearer {self.key}" else 401
                call = f"rtc_{len(self.offers)}"
                answer = ANSWER if status == 201 else json.dumps({"error": {"message": "bad sdp"}})
                writer.write(
                    f"HTTP/1.1 {status} X\r\nlocation: /v1/realtime/calls/{call}\r\ncontent-type: application/sdp\r\n"
                    f"content-length: {len(answer)}\r\n\r\n{answer}".encode()
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def _form(kind: str, body: bytes) -> dict[str, Any]:
    message: Any = message_from_bytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + body)
    fields = {
        p.get_param("name", header="content-disposition"): p.get_payload(decode=True) for p in message.get_payload()
    }
    return {"sdp": fields["sdp"].decode(), "session": json.loads(fields["session"])}


@asynccontextmanager
async def sdp_server() -> AsyncIterator[SdpServer]:
    """One that runs."""
    s = SdpServer()
    server = await asyncio.start_server(s, "127.0.0.1", 0)
    s.port = server.sockets[0].getsockname()[1]
    try:
        yield s
    finally:
        server.close()
