"""The commands and their flags."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from switchboard import __version__

program = typer.Typer(
    name="switchboard",
    help="The self-hosted backend between your apps and the AI providers. Without a command: serve.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # --help without importing rich takes a third of the time
    context_settings={"help_option_names": ["-h", "--help"]},
)

Host = Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="The port to listen on.", show_default="8000")]
Config = Annotated[str | None, typer.Option(help="The settings file.", show_default="switchboard.yaml or .toml here")]
Reload = Annotated[bool, typer.Option("--reload", help="Start again when code or settings change.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@program.callback(invoke_without_command=True)
def default(
    context: typer.Context,
    host: Host = None,
    port: Port = None,
    config: Config = None,
    reload: Reload = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """The self-hosted backend between your apps and the AI providers. Without a command: serve."""
    context.obj = (_flags(host, port), config)
    if context.invoked_subcommand is None:
        _serve(context, reload)


@program.command()
def serve(
    context: typer.Context, host: Host = None, port: Port = None, config: Config = None, reload: Reload = False
) -> None:
    """Serve."""
    _take(context, host, port, config)
    _serve(context, reload)


def _serve(context: typer.Context, reload: bool) -> None:
    flags, config = context.obj
    if reload:
        from switchboard.cli.reload import watch

        watch(flags, config)
    else:
        from switchboard.cli.serve import run

        run(flags, config)


@program.command()
def check(context: typer.Context, host: Host = None, port: Port = None, config: Config = None) -> None:
    """Read the settings, say what is wrong with them, and do nothing else."""
    from switchboard.cli.settings import read

    _take(context, host, port, config)
    _, sources = read(*context.obj)
    print(f"The settings are fine ({sources.file or 'no settings file'}).")


def _take(context: typer.Context, host: str | None, port: int | None, config: str | None) -> None:
    """A command's own flags over those that stand before it."""
    before, config_before = context.obj
    context.obj = (before | _flags(host, port), config or config_before)


def _flags(host: str | None, port: int | None) -> dict[tuple[str, ...], Any]:
    given: dict[tuple[str, ...], Any] = {("host",): host, ("port",): port}
    return {path: value for path, value in given.items() if value is not None}


def main() -> None:
    """Run the program."""
    program()
