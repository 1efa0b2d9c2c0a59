"""``switchboard chat``: a conversation in the terminal, with a running server or straight with a provider."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from switchboard.app import public_address
from switchboard.cli import terminal
from switchboard.cli.run_file import find
from switchboard.cli.settings import read
from switchboard.config.tree import Settings
from switchboard.core.events import Reasoning, Refusal, Text
from switchboard.providers.base import endpoint


class Wanted(Struct, frozen=True):
    """What the flags ask for. `url` is a server's address (None: the one that runs here, if one does); `direct` asks the
    providers without one; `message` is said instead of a conversation."""

    message: str | None
    model: str | None
    profile: str | None
    system: str | None
    url: str | None
    key: str | None
    direct: bool


def run(flags: Mapping[tuple[str, ...], Any], config: str | None, wanted: Wanted) -> None:
    """Talk. Exits with 1 where an answer failed."""
    settings, _ = read(flags, config)
    if wanted.url is not None:
        try:
            endpoint(wanted.url)
        except ValueError as e:
            print(f"switchboard: --url {wanted.url}: {e}", file=sys.stderr)
            raise SystemExit(2) from None
    try:
        code = asyncio.run(_talk(settings, wanted))
    except KeyboardInterrupt:
        code = 130
    raise SystemExit(code)


async def _talk(settings: Settings, wanted: Wanted) -> int:
    key = wanted.key or terminal.key_of(settings, wanted.profile)
    url = wanted.url
    if url is None and not wanted.direct:
        running = find(settings)
        url = _address(settings, running[0].port) if running else None
    line = terminal.direct(settings, wanted.profile, key) if url is None else terminal.server(url, key, wanted.profile)
    async with line as way:
        messages: list[dict[str, Any]] = []
        if wanted.system:
            messages.append({"role": "system", "content": wanted.system})
        if wanted.message is not None or not sys.stdin.isatty():
            given = sys.stdin.buffer.read() if wanted.message is None else os.fsencode(wanted.message)
            text = given.decode(errors="replace").strip()
            return 0 if await _say(way, messages, text, wanted.model) else 1
        who = url or "the providers themselves, no server runs here"
        print(f"Talking to {who}. An empty line or Ctrl-D ends; Ctrl-C stops an answer.", file=sys.stderr)
        return await _converse(way, messages, wanted.model)


def _address(settings: Settings, port: int) -> str:
    """Where the server that runs here is: by itself, unless it can only be asked by its public name."""
    plain = settings.tls.certificate is None and settings.https == "allow"
    return public_address(settings.model_copy(update={"public_url": None}) if plain else settings, port)


async def _converse(way: terminal.Line, messages: list[dict[str, Any]], model: str | None) -> int:
    loop = asyncio.get_running_loop()
    while True:
        text = _asked()
        if not text:
            return 0
        saying = loop.create_task(_say(way, messages, text, model))
        loop.add_signal_handler(signal.SIGINT, saying.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await saying


def _asked() -> str:
    """What is typed; "" at the end. Nothing else goes on meanwhile: in a thread, Ctrl-C would have to wait for Enter."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return os.fsencode(input("\n> ")).decode(errors="replace").strip()
    except (EOFError, KeyboardInterrupt):
        print()
        return ""


async def _say(way: terminal.Line, messages: list[dict[str, Any]], text: str, model: str | None) -> bool:
    """Say `text`, and show the answer as it comes; both stay in `messages`. False where there was none."""
    asked = {"role": "user", "content": text}
    answering = terminal.Answering()
    said: list[str] = []
    flow = None
    try:
        flow = way.send(terminal.body_of([*messages, asked], model), answering)
        async for e in answering.events():
            if isinstance(e, Text | Refusal) and e.choice == 0:
                said.append(e.text)
                print(e.text, end="", flush=True)
            elif isinstance(e, Reasoning) and sys.stdout.isatty():
                print(f"\033[2m{e.text}\033[0m", end="", flush=True)
    except terminal.AskError as e:
        print(f"{chr(10) if said else ''}switchboard: {e}", file=sys.stderr)
        return False
    except asyncio.CancelledError:
        if flow is not None:
            flow.abort()
        raise
    print()
    dropped = answering.headers.get(b"x-switchboard-dropped")
    if dropped:
        print(f"(not taken over: {dropped.decode('latin-1')})", file=sys.stderr)
    messages += [asked, {"role": "assistant", "content": "".join(said)}]
    return True
