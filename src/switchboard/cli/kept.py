"""The commands about what is kept: API keys, usage, users' data, the database itself; and their flags."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer


def group(text: str) -> typer.Typer:
    """A command that has commands."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)


keys = group("API keys of callers.")
data = group("What is kept of a user.")
db = group("The database.")

Config = Annotated[str | None, typer.Option(help="The settings file.", show_default="switchboard.yaml or .toml here")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Limit = Annotated[int | None, typer.Option(min=1)]
Dollars = Annotated[float | None, typer.Option(min=0.000001)]
Which = Annotated[str, typer.Argument(help="The key's id, or its name.")]
User = Annotated[str, typer.Option("--user", help="The user: a token's subject, a userId, or a caller's id.")]


def _settings(context: typer.Context, config: str | None) -> tuple[dict[tuple[str, ...], Any], str | None]:
    flags, before = context.obj
    return flags, config or before


@keys.command("create")
def keys_create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What you call it: the app or the person that gets it.")],
    config: Config = None,
    profile: Annotated[str, typer.Option(help="The profile that it opens.")] = "default",
    expires: Annotated[str | None, typer.Option(help="When it ends: 30d, 12h or 2027-01-31.")] = None,
    models: Annotated[str | None, typer.Option(help="The models that it may use: a,b.", show_default="all")] = None,
    surfaces: Annotated[
        str | None,
        typer.Option(help="The surfaces that it may use: web_chat,openai_v1,…", show_default="all"),
    ] = None,
    act_as: Annotated[bool, typer.Option("--act-as", help="Its holder acts for the userId that a call names.")] = False,
    requests_per_minute: Limit = None,
    tokens_per_minute: Limit = None,
    tokens_per_day: Limit = None,
    tokens_per_month: Limit = None,
    dollars_per_day: Dollars = None,
    dollars_per_month: Dollars = None,
    streams: Limit = None,
    voice_connects_per_minute: Limit = None,
    voice_sessions: Limit = None,
    as_json: Json = False,
) -> None:
    """Make a key, and show it this once. Limits that are not given are those of the profile."""
    from switchboard.cli.keys import Wanted, create
    from switchboard.core.counting import Allowance

    allowance = Allowance(
        requests_per_minute,
        tokens_per_minute,
        tokens_per_day,
        tokens_per_month,
        dollars_per_day,
        dollars_per_month,
        streams,
        voice_connects_per_minute,
        voice_sessions,
    )
    wanted = Wanted(name, profile, allowance, expires, _list(models), _list(surfaces), act_as)
    create(*_settings(context, config), wanted, as_json=as_json)


@keys.command("list")
def keys_list(
    context: typer.Context,
    config: Config = None,
    profile: Annotated[str | None, typer.Option(help="Only those of this profile.")] = None,
    as_json: Json = False,
) -> None:
    """Show all keys, without the keys themselves."""
    from switchboard.cli.keys import listed

    listed(*_settings(context, config), profile, as_json=as_json)


@keys.command("revoke")
def keys_revoke(context: typer.Context, which: Which, config: Config = None) -> None:
    """End a key at once."""
    from switchboard.cli.keys import revoke

    revoke(*_settings(context, config), which)


@keys.command("rotate")
def keys_rotate(
    context: typer.Context,
    which: Which,
    config: Config = None,
    grace: Annotated[
        str | None, typer.Option(help="How long the old one is still good: 24h.", show_default="it ends at once")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put a new key in the place of another, with the same name and limits."""
    from switchboard.cli.keys import rotate

    rotate(*_settings(context, config), which, grace, as_json=as_json)


def usage(
    context: typer.Context,
    config: Config = None,
    by: Annotated[Literal["day", "caller", "profile", "model"], typer.Option(help="What sums are of.")] = "day",
    since: Annotated[
        str | None, typer.Option("--from", help="The first day: 2026-01-01.", show_default="30 days")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="The last day.", show_default="today")] = None,
    caller: Annotated[str | None, typer.Option(help="Only what this caller used.")] = None,
    profile: Annotated[str | None, typer.Option(help="Only what was used in this profile.")] = None,
    as_json: Json = False,
) -> None:
    """Show what was used: requests, tokens, money, errors."""
    from switchboard.cli.usage import show

    flags, file = _settings(context, config)
    show(flags, file, by=by, since=since, until=until, caller=caller, profile=profile, as_json=as_json)


@data.command("export")
def data_export(context: typer.Context, user: User, config: Config = None) -> None:
    """Print all that is kept of a user, one JSON object a line."""
    from switchboard.cli.data import export

    export(*_settings(context, config), user)


@data.command("erase")
def data_erase(
    context: typer.Context,
    user: User,
    config: Config = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether this is meant.")] = False,
) -> None:
    """Forget all that is kept of a user. It cannot be undone."""
    from switchboard.cli.data import erase

    erase(*_settings(context, config), user, sure=yes)


@db.command("upgrade")
def db_upgrade(context: typer.Context, config: Config = None) -> None:
    """Bring the database's tables up to what this program needs."""
    from switchboard.cli.db import upgrade
    from switchboard.cli.settings import read
    from switchboard.config.folder import database_url

    settings, _ = read(*_settings(context, config))
    upgrade(database_url(settings))


def _list(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]
