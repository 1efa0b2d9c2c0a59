"""The commands and their flags."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, get_args

import typer

from switchboard import __version__
from switchboard.cli import kept

program = typer.Typer(
    name="switchboard",
    help="The self-hosted backend between your apps and the AI providers. Without a command: serve.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # --help without importing rich takes a third of the time
    context_settings={"help_option_names": ["-h", "--help"]},
)

config_commands = typer.Typer(
    help="Look at the settings.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
program.add_typer(config_commands, name="config")
providers_commands = typer.Typer(help="Look at the providers.", no_args_is_help=True, rich_markup_mode=None)
program.add_typer(providers_commands, name="providers")
program.add_typer(kept.keys, name="keys")
program.command("usage")(kept.usage)
program.add_typer(kept.data, name="data")
program.add_typer(kept.db, name="db")

Host = Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="The port to listen on.", show_default="8000")]
Workers = Annotated[int | None, typer.Option(help="Processes that serve.", show_default="1")]
Config = Annotated[str | None, typer.Option(help="The settings file.", show_default="switchboard.yaml or .toml here")]
Reload = Annotated[bool, typer.Option("--reload", help="Start again when code or settings change.")]

Shell = Literal["bash", "zsh", "fish"]


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


def _providers() -> list[str]:
    from switchboard.providers import kinds

    return [name for name, kind in kinds().items() if kind.chats]


@program.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    config: Config = None,
    reload: Reload = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """The self-hosted backend between your apps and the AI providers. Without a command: serve."""
    context.obj = (_flags(host, port) | _workers(workers), config)
    if context.invoked_subcommand is None:
        _serve(context, reload)


@program.command()
def serve(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    config: Config = None,
    reload: Reload = False,
) -> None:
    """Serve."""
    _take(context, host, port, config)
    flags, file = context.obj
    context.obj = (flags | _workers(workers), file)
    _serve(context, reload)


def _serve(context: typer.Context, reload: bool) -> None:
    flags, config = context.obj
    if reload:
        from switchboard.cli.watch import watch

        watch(flags, config)
    else:
        from switchboard.cli.serve import run

        run(flags, config)


@program.command()
def reload(context: typer.Context, host: Host = None, port: Port = None, config: Config = None) -> None:
    """Have the running server read its settings anew. Open streams go on."""
    from switchboard.cli.reload import run

    _take(context, host, port, config)
    run(*context.obj)


@program.command()
def check(context: typer.Context, host: Host = None, port: Port = None, config: Config = None) -> None:
    """Read the settings, say what is wrong with them, and do nothing else."""
    from switchboard.cli.settings import read

    _take(context, host, port, config)
    _, sources = read(*context.obj)
    print(f"The settings are fine ({sources.file or 'no settings file'}).")


@program.command()
def init(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    config: Config = None,
    output: Annotated[str | None, typer.Option(help="The file to write.", show_default="switchboard.yaml")] = None,
    provider: Annotated[
        str | None,
        typer.Option(
            help="Who answers: openai, azure, anthropic, huggingface, compatible or offline.",
            show_default="openai",
            autocompletion=_providers,
        ),
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Where the provider is.")] = None,
    model: Annotated[str | None, typer.Option(help="The model that answers.")] = None,
    system: Annotated[str | None, typer.Option("--system", "--system-prompt", help="The system prompt.")] = None,
    access_key: Annotated[
        bool | None, typer.Option(help="Make an access key, in a file of its own.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    defaults: Annotated[
        bool, typer.Option("--yes", "-y", "--defaults", help="Ask nothing; take the flags and the defaults.")
    ] = False,
) -> None:
    """Write a settings file, from a few questions or from flags."""
    from switchboard.cli.init import Wanted, init

    _take(context, host, port, config)
    wanted = Wanted(
        output=output,
        provider=provider,
        base_url=base_url,
        model=model,
        system=system,
        access_key=access_key,
        force=force,
        ask=not defaults,
    )
    init(wanted, *context.obj)


@program.command()
def doctor(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON list.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no provider.")] = False,
) -> None:
    """Look at all that a server needs, and say of each fault what to do."""
    from switchboard.cli.doctor import run

    _take(context, host, port, config)
    run(*context.obj, as_json=as_json, offline=offline)


@program.command()
def chat(
    context: typer.Context,
    message: Annotated[str | None, typer.Argument(help="Say this, and no more.")] = None,
    host: Host = None,
    port: Port = None,
    config: Config = None,
    model: Annotated[str | None, typer.Option(help="The model to ask.")] = None,
    profile: Annotated[str | None, typer.Option(help="The profile to talk under.")] = None,
    system: Annotated[str | None, typer.Option(help="A system prompt.")] = None,
    url: Annotated[str | None, typer.Option(help="A server's address.", show_default="the one that runs here")] = None,
    key: Annotated[str | None, typer.Option(help="The access key.", show_default="that of the settings")] = None,
    direct: Annotated[bool, typer.Option("--direct", help="Ask the provider itself, not a server.")] = False,
) -> None:
    """Talk in the terminal: with the running server, or straight with a provider."""
    from switchboard.cli.chat import Wanted, run

    _take(context, host, port, config)
    flags, file = context.obj
    run(flags, file, Wanted(message, model, profile, system, url, key, direct))


@providers_commands.command("test")
def providers_test(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The provider.", autocompletion=_providers)],
    config: Config = None,
    model: Annotated[str | None, typer.Option(help="The model to ask.")] = None,
) -> None:
    """Ask a provider whether it is there, takes its key, and answers (which costs a few tokens)."""
    from switchboard.cli.providers_test import run

    _take(context, None, None, config)
    flags, file = context.obj
    run(flags, file, name, model)


@program.command()
def completion(shell: Annotated[Shell | None, typer.Argument(help="By default your own.")] = None) -> None:
    """Print the script by which a shell completes commands and flags.

    \b
    bash: source <(switchboard completion bash)
    zsh:  source <(switchboard completion zsh)
    fish: switchboard completion fish | source

    Put the line into ~/.bashrc, ~/.zshrc (after compinit) or ~/.config/fish/config.fish.
    """
    from switchboard.cli.completion import script

    script(shell, get_args(Shell))


@config_commands.command("show")
def config_show(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    config: Config = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show every setting that is in force, defaults included. Secrets are not shown."""
    from switchboard.cli.config_show import show

    _take(context, host, port, config)
    show(*context.obj, origin=origin, as_json=as_json)


def _take(context: typer.Context, host: str | None, port: int | None, config: str | None) -> None:
    """A command's own flags over those that stand before it."""
    before, config_before = context.obj
    context.obj = (before | _flags(host, port), config or config_before)


def _flags(host: str | None, port: int | None) -> dict[tuple[str, ...], Any]:
    given: dict[tuple[str, ...], Any] = {("host",): host, ("port",): port}
    return {path: value for path, value in given.items() if value is not None}


def _workers(workers: int | None) -> dict[tuple[str, ...], Any]:
    return {} if workers is None else {("workers",): workers}


def main() -> None:
    """Run the program."""
    if "_SWITCHBOARD_COMPLETE" in os.environ:  # a shell asks what may follow
        from switchboard.cli.completion import prepare

        prepare()
    program()
