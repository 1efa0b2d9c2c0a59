"""``switchboard providers test NAME``: whether a provider can be reached, takes its key, and answers."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from typing import Any

from switchboard.cli import terminal
from switchboard.cli.doctor import ask
from switchboard.cli.settings import read
from switchboard.config.tree import ProviderSettings, Settings
from switchboard.core.events import Metered, Text, ToolCallBegin
from switchboard.core.types import Operation
from switchboard.providers import kinds


def run(flags: Mapping[tuple[str, ...], Any], config: str | None, name: str, model: str | None) -> None:
    """Test one provider, step by step. Exits with 1 where a step fails."""
    settings, _ = read(flags, config)
    if name not in settings.providers and name not in kinds():
        known = ", ".join(dict.fromkeys([*settings.providers, *kinds()]))
        print(f"switchboard: there is no provider '{name}'; there are {known}", file=sys.stderr)
        raise SystemExit(1)
    if name not in settings.providers and kinds()[name].network and not kinds()[name].base_url:
        print(f"switchboard: provider '{name}' needs a base_url: set providers.{name}.base_url", file=sys.stderr)
        raise SystemExit(1)
    rows = settings.providers if name in settings.providers else settings.providers | {name: ProviderSettings()}
    chat = settings.chat.model_copy(update={"provider": name, "model": model, "models": [], "locked": []})
    settings = settings.model_copy(update={"providers": rows, "chat": chat, "routes": {}, "profiles": {}})
    raise SystemExit(asyncio.run(_test(settings, name, model)))


async def _test(settings: Settings, name: str, model: str | None) -> int:
    async with terminal.direct(settings, None) as way:
        provider = way.app.runtime.providers[name]
        if not provider.configured:
            print("failed   it has no key; see `switchboard doctor`")
            return 1
        check = await ask(f"provider {name}", provider, [])
        print(f"{check.state:<9}{check.text}{f' → {check.fix}' if check.fix else ''}")
        if check.state == "failed":
            return 1
        if not provider.serves(Operation.GENERATE, ""):
            print("skipped  a chat: it does not chat")
            return 0
        messages = [{"role": "user", "content": "Say hello in one word."}]
        return await _chat(way, messages, model)


async def _chat(way: terminal.Line, messages: list[dict[str, Any]], model: str | None) -> int:
    began = time.monotonic()
    first: float | None = None
    text = ""
    usage = None
    answering = terminal.Answering()
    try:
        way.send(terminal.body_of(messages, model, max_tokens=32), answering)
        async for e in answering.events():
            if isinstance(e, Text | ToolCallBegin) and first is None:
                first = time.monotonic() - began
            if isinstance(e, Text):
                text += e.text
            elif isinstance(e, Metered):
                usage = e.usage
    except terminal.AskError as e:
        print(f"failed   a chat: {e}")
        return 1
    took = time.monotonic() - began
    counted = f", {usage.input} tokens in, {usage.output} out" if usage is not None else ""
    print(
        f"ok       a chat: {text.strip()[:60]!r}, first byte after {first or took:.2f} s, whole after {took:.2f} s{counted}"
    )
    return 0
