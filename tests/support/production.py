"""`docs/production.md` as it stands there: its code, its nginx, and what it has one ask."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import trustme

from support.process import ROOT

PAGE = (ROOT / "docs" / "production.md").read_text()
HOST = "ai.example.com"


def blocks(language: str) -> list[str]:
    """The code of the page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


async def port_of(data: Path) -> int:
    """Where the server listens whose data folder is `data`; it writes that down just after it has said that it is there."""
    async with asyncio.timeout(10):
        while True:
            for file in (data / "run").glob("*.json"):
                with suppress(ValueError):  # it is being written
                    return int(json.loads(file.read_text())["port"])
            await asyncio.sleep(0.02)


@contextmanager
def nginx(folder: Path, port: int, behind: int) -> Iterator[ssl.SSLContext]:
    """The page's nginx on `port`, before the server on the port `behind`. Its access log is ``nginx-*.log`` in `folder`. Gives who is to be
    trusted for it."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    certificate.private_key_pem.write_to_path(folder / "tls.key")
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(folder / "tls.pem", append=True)
    (site,) = blocks("nginx")
    changes = {
        "/var/log/nginx/": f"{folder}/nginx-",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/ai.example.com.pem": str(folder / "tls.pem"),
        "/etc/ssl/ai.example.com.key": str(folder / "tls.key"),
        "http://127.0.0.1:8000": f"http://127.0.0.1:{behind}",
    }
    for before, after in changes.items():
        assert before in site
        site = site.replace(before, after)
    temporary = "".join(f"{n}_temp_path {folder}/{n};\n" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{temporary}{site}}}\n"
    )
    command = [
        "nginx",
        "-p",
        str(folder),
        "-c",
        str(folder / "nginx.conf"),
        "-g",
        "user root;" if os.geteuid() == 0 else "",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    try:
        yield context
    finally:
        process.terminate()
        process.wait(5)


async def curl(port: int, trust: ssl.SSLContext, line: str, key: str) -> tuple[int, Any]:
    """Do what a line of the page says, with `key`; status and JSON."""
    words = shlex.split(line.replace("\\\n", " ").replace("$KEY", key))
    url = next(w for w in words if w.startswith("https://"))
    lines = [words[i + 1] for i, w in enumerate(words) if w == "-H"]
    body = words[words.index("-d") + 1].encode() if "-d" in words else b""
    head = f"{'POST' if body else 'GET'} {url.removeprefix(f'https://{HOST}')} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n"
    head += "".join(f"{x}\r\n" for x in lines) + (f"content-length: {len(body)}\r\n" if body else "")
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=HOST)
        writer.write(head.encode() + b"\r\n" + body)
        raw = await reader.read()
        writer.close()
    first, _, rest = raw.partition(b"\r\n\r\n")
    return int(first.split()[1]), json.loads(rest[rest.index(b"{") : rest.rindex(b"}") + 1])
