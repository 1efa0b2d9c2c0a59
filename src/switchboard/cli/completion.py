"""``switchboard completion``: the script by which a shell completes commands and flags."""

from __future__ import annotations

import os
import sys
from typing import Final

# typer.completion says what of it is public by its name alone
from typer.completion import completion_init, get_completion_script  # type: ignore[attr-defined]

#: The variable by which the script asks the program what may follow.
VARIABLE: Final = "_SWITCHBOARD_COMPLETE"


def script(shell: str | None, known: tuple[str, ...]) -> None:
    """Print the script for `shell`, or for the one that the user has. Exits with status 2 where it is not `known`."""
    name = shell or os.path.basename(os.environ.get("SHELL", ""))
    if name not in known:
        print(f"switchboard: which shell? Name one: switchboard completion {'|'.join(known)}", file=sys.stderr)
        raise SystemExit(2)
    print(get_completion_script(prog_name="switchboard", complete_var=VARIABLE, shell=name))


def prepare() -> None:
    """Make the program able to answer the script. Where typer adds no flags of its own, it leaves this to us."""
    completion_init()
