"""Make the pages that are made from code, and the tables of a fresh database from its migrations: `make docs`. Tests compare them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from switchboard.config.names import KNOWN, place, variable
from switchboard.config.names import Path as Place
from switchboard.config.tree import Chat, ProfileSettings, ProviderSettings, Settings, fields_of
from switchboard.core.errors import CODES
from switchboard.store.schema import upgrade
from switchboard.store.sqlite import FRESH, tables_of

HERE = Path(__file__).parent


def _default(field: Any) -> str:
    value = field.default
    if value is None or value is PydanticUndefined or isinstance(value, BaseModel):
        return ""
    if isinstance(value, list | dict):
        return ", ".join(f"`{v}`" for v in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _rows(path: Place, model: type[BaseModel]) -> list[str]:
    rows: list[str] = []
    for key, field in fields_of(model).items():
        here = (*path, key)
        found = place(here)
        assert found is not None
        if found.model is not None:
            rows += _rows(here, found.model)
        elif here not in (("providers",), ("profiles",)):  # which have tables of their own
            name = (*here, "NAME") if found.table is not None else here
            text = f"{(field.description or '').strip()}{' Secret.' if found.is_secret else ''}".strip()
            rows.append(f"| `{'.'.join(name)}` | {text} | {_default(field)} | `{variable(name)}` |")
    return rows


def _profile_rows() -> list[str]:
    """What a profile has besides the settings of chats."""
    rows = []
    for key, field in fields_of(ProfileSettings).items():
        here = ("profiles", "NAME", key)
        found = place(here)
        if found is not None and key not in fields_of(Chat):
            deeper = "" if found.model is None else "__…"
            rows.append(f"| `{'.'.join(here)}` | {field.description} | `{variable(here)}{deeper}` |")
    return rows


def fresh_tables() -> str:
    """`src/switchboard/store/migrations/fresh.sql`: what all migrations make of an empty SQLite file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fresh.db"
        upgrade(f"sqlite:///{path}")
        return tables_of(path)


def settings_page() -> str:
    """`docs/settings.md`."""
    head = "| key | meaning | default | variable |\n|---|---|---|---|\n"
    known = "\n".join(f"| `{name}` | `{'.'.join(path)}` |" for name, path in KNOWN.items())
    own = "\n".join(_rows(("providers", "NAME"), ProviderSettings))
    return f"""# Settings

Made from `src/switchboard/config/tree/` by `make docs`.

A flag (`--host`, `--port`) wins over the environment, the environment over the settings file, the file over the default. The file
is `switchboard.yaml`, `switchboard.yml` or `switchboard.toml` in the directory that the server is started in, or what `--config` or
`SWITCHBOARD_CONFIG` names. A variable is `SWITCHBOARD_` and the key in capitals, with `__` between levels; lists are separated by
commas. A secret can be read from a file: the variable's name and `_FILE`, or in the settings file the key and `_file`. Unknown
keys and wrong values stop the start; `switchboard check` tells them all.

{head}{chr(10).join(_rows((), Settings))}

## Providers

Each under a name of your choice. `openai` needs no more than its key; a `compatible` one needs its `base_url`.

{head}{own}

## Profiles

Further apps, each under a name of your choice, chosen by the path (`/p/NAME/…`), by a key or by the origin of the page. All of `chat` can be set
anew in a profile (`profiles.NAME.system_prompt`, say), and:

| key | meaning | variable |
|---|---|---|
{chr(10).join(_profile_rows())}

## Variables by other names

| variable | key |
|---|---|
{known}

`HTTPS_PROXY` and `NO_PROXY` are honoured for calls to providers.
"""


def errors_page() -> str:
    """`docs/errors.md`."""
    rows = "\n".join(f"| `{code}` | {row.status} | {row.meaning} |" for code, row in CODES.items())
    return f"""# Errors

Made from `src/switchboard/core/errors.py` by `make docs`.

On `/v1` an error is OpenAI's: `{{"error": {{"message", "type", "param", "code"}}, "request_id"}}`, its `code` in lower case. Everywhere
else it is `{{"error": {{"message", "code"}}, "request_id"}}` (for `deep-chat` and under `/api/voice`, `error` is the text itself). The same `request_id` is in the header
`x-request-id` and in the log, which has what a client is not told. A stream that fails after it began ends with an event
that holds the error, and without its clean end. Every 429 and 503 says `retry-after`.

A provider's own 400, 404, 413 or 422 keeps its status, type, param, code and message on `/v1`, without keys and hosts; elsewhere it
is `PROVIDER_REJECTED`.

| code | status | meaning |
|---|---|---|
{rows}
"""


def main() -> None:
    (HERE / "settings.md").write_text(settings_page())
    (HERE / "errors.md").write_text(errors_page())
    FRESH.write_text(fresh_tables())


if __name__ == "__main__":
    main()
