"""The text of a new settings file. Notes begin with ``# ``, settings to choose from with ``#`` alone."""

from __future__ import annotations

from typing import Any, Final

import yaml
from msgspec import Struct

from switchboard.config.names import variable
from switchboard.providers import kinds

#: Where a server that has no place of its own usually is, and what the place of one looks like that differs for everybody.
PROPOSED: Final = {"compatible": "http://localhost:11434/v1"}
EXAMPLES: Final = {"azure": "https://NAME.openai.azure.com"}


class Answers(Struct, kw_only=True, frozen=True):
    """What the file is to say. `chosen` is whether somebody asked for this provider; `key_file` is the access key's."""

    provider: str
    chosen: bool = True
    base_url: str | None = None
    model: str | None = None
    system: str | None = None
    key_file: str | None = None
    host: str | None = None
    port: int | None = None


def key_variable(provider: str) -> str:
    """The variable that a provider's key is read from."""
    return variable(("providers", provider, "api_key"))


def settings_text(a: Answers) -> str:
    """The settings file."""
    return "\n".join([*_HEAD, "", *_listening(a), "", *_provider(a), "", *_chat(a), "", *_auth(a), "", *_REST, ""])


_HEAD: Final = [
    "# The settings of Switchboard.",
    "#",
    "# A flag wins over the environment, the environment over this file, and this file over the defaults. Lines that",
    "# begin with # and no blank after it are settings to choose from. `switchboard check` says whether they are right,",
    "# `switchboard config show --origin` which are in force and where each comes from. docs/settings.md lists them all.",
]

_REST: Final = [
    "# Browsers' pages that may ask.",
    '#cors: {origins: ["https://app.example.com"]}',
    "",
    "# Behind a proxy that ends TLS: the address that clients use, and the proxies whose X-Forwarded-* are believed.",
    "#public_url: https://chat.example.com",
    "#trusted_proxies: [10.0.0.0/8]",
    "",
    "# By access key, or by address where callers have none.",
    "#limits: {requests_per_minute: 60}",
    "",
    "# DEBUG logs bodies too, with secrets masked.",
    "#log: {level: INFO}",
]


def _listening(a: Answers) -> list[str]:
    return [
        "# Where to listen. Beyond this machine (0.0.0.0) the server wants an access key: see auth.",
        _line("host", a.host, "127.0.0.1"),
        _line("port", a.port, "8000"),
    ]


def _provider(a: Answers) -> list[str]:
    kind = kinds()[a.provider]
    out = ["# Who answers, each under a name of your choice.", "providers:", f"  {a.provider}:"]
    if not kind.network:
        return [*out, "    # It needs no key and no network. Seconds between two words of a stream:", "    #pace: 0.02"]
    if a.base_url is not None:
        out.append(f"    base_url: {scalar(a.base_url)}")
    name = key_variable(a.provider)
    if kind.key_needed:
        out += [
            f"    # Its key does not belong into this file: set the variable {name},",
            "    # or name a file that holds the key.",
        ]
    else:
        out += [f"    # If it wants a key: set the variable {name},", "    # or name a file that holds the key."]
    out.append(f"    #api_key_file: /run/secrets/{a.provider}")
    if a.base_url != PROPOSED["compatible"]:
        out += ["  # Another one, on this machine:", '  #ollama: {base_url: "http://localhost:11434/v1"}']
    return out


def _chat(a: Answers) -> list[str]:
    out = ["chat:"]
    if a.chosen:
        out += ["  # Which of the providers answers.", f"  provider: {a.provider}"]
    else:
        out += [
            "  # Which of the providers answers; by default the one that has a key, and until one has,",
            "  # on this machine alone, the offline provider.",
            f"  #provider: {a.provider}",
        ]
    if a.provider == "azure":
        out.append("  # The deployment that answers where a request names none that is served.")
    else:
        out.append("  # The model that answers where a request names none that is served.")
    out.append(_line("  model", a.model, kinds()[a.provider].model or "NAME"))
    out += [
        "  # Put before every conversation; no request can change it.",
        _line("  system_prompt", a.system, "You are a helpful assistant."),
        "  # The most tokens that a request may ask for, and what a request may not change.",
        "  #max_tokens_cap: 2048",
        "  #locked: [temperature]",
    ]
    return out


def _auth(a: Answers) -> list[str]:
    out = ["# Who may ask: callers send the key as `Authorization: Bearer …` or `x-api-key: …`."]
    if a.key_file is None:
        return [*out, "#auth: {access_key_file: switchboard.access-key}"]
    return [*out, "auth:", f"  access_key_file: {scalar(a.key_file)}"]


def _line(key: str, value: str | int | None, proposal: str) -> str:
    """``key: value``, or without a value what may stand there."""
    name = key.lstrip()
    indent = " " * (len(key) - len(name))
    return f"{indent}#{name}: {proposal}" if value is None else f"{key}: {scalar(value, len(indent) + 2)}"


def scalar(value: Any, indent: int = 2) -> str:
    """`value` as YAML writes it; a text of several lines as a block that is indented by `indent`."""
    if isinstance(value, str) and "\n" in value and _fits_a_block(value):
        return "|-\n" + "\n".join(" " * indent + line if line else "" for line in value.split("\n"))
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text: str = yaml.safe_dump(value, default_style=style, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


def _fits_a_block(text: str) -> bool:
    lines = text.split("\n")
    shown = all(line.isprintable() and line == line.rstrip() for line in lines)
    return shown and bool(lines[0]) and bool(lines[-1]) and not lines[0][0].isspace()
