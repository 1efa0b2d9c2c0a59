"""``switchboard chat``: a conversation in the terminal, with a running server or straight with a provider."""

from __future__ import annotations

import asyncio
import contextlib
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
    with contextlib.suppress(KeyboardInterrupt):
        raise SystemExit(asyncio.run(_talk(settings, wanted)))


async def _talk(settings: Settings, wanted: Wanted) -> int:
    keys = settings.auth.access_key
    key = wanted.key or (keys[0].get_secret_value() if keys else None)
    url = wanted.url
    if url is None and not wanted.direct:
        running = find(settings)
        url = public_address(settings, running[0].port) if running else None
    line = terminal.direct(settings, wanted.profile) if url is None else terminal.server(url, key, wanted.profile)
    async with line as way:
        messages: list[dict[str, Any]] = []
        if wanted.system:
            messages.append({"role": "system", "content": wanted.system})
        if wanted.message is not None or not sys.stdin.isatty():
            text = wanted.message if wanted.message is not None else sys.stdin.read()
            return 0 if await _say(way, messages, text.strip(), wanted.model) else 1
        who = url or "the providers themselves, no server runs here"
        print(f"Talking to {who}. An empty line or Ctrl-D ends; Ctrl-C stops an answer.", file=sys.stderr)
        return await _converse(way, messages, wanted.model)


async def _converse(way: terminal.Line, messages: list[dict[str, Any]], model: str | None) -> int:
    while True:
        try:
            text = await asyncio.to_thread(input, "\n> ")
        except EOFError:
            return 0
        if not text.strip():
            return 0
        await _say(way, messages, text, model)


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
    except (KeyboardInterrupt, asyncio.CancelledError):
        if flow is not None:
            flow.abort()
        raise
    print()
    dropped = answering.headers.get(b"x-switchboard-dropped")
    if dropped:
        print(f"(not taken over: {dropped.decode('latin-1')})", file=sys.stderr)
    messages += [asked, {"role": "assistant", "content": "".join(said)}]
    return True
