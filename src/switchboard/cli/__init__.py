"""The program ``switchboard``: one command a file. Nothing heavy is imported before a command needs it."""

from switchboard.cli.program import main

__all__ = ["main"]
