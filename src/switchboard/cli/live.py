"""The settings of a running server: read anew on SIGHUP, and by itself when the file of a secret has changed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final

from switchboard.app import Application
from switchboard.cli.run_file import RunFile
from switchboard.config.load import SettingsError, Sources, load, stamp
from switchboard.config.tree import Settings

#: Seconds between two looks at the files of secrets.
LOOK: Final = 1.0


class LiveSettings:
    """Reads the settings anew for `app` from where `flags` and `config` say. A reading that fails changes nothing."""

    def __init__(
        self, app: Application, flags: Mapping[tuple[str, ...], Any], config: str | None, sources: Sources
    ) -> None:
        self._app = app
        self._flags = flags
        self._config = config
        self._stamps = sources.secret_files
        self._at_terminal = sys.stderr.isatty()
        self._looked = 0.0
        self._wanted = False
        self._task: asyncio.Task[None] | None = None
        self._run_file: RunFile | None = None

    def listen(self) -> None:
        """Read the settings anew on SIGHUP. It also comes when a terminal is closed: then the server ends."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._signalled)

    def tell(self, run_file: RunFile) -> None:
        """From now on `run_file` is told what becomes of each reading."""
        self._run_file = run_file

    def _signalled(self) -> None:
        if self._at_terminal and _hung_up():
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self.reload()

    def reload(self) -> None:
        """Read the settings anew. What is asked for while that is under way follows it."""
        self._wanted = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._read())

    def tick(self, at: float) -> None:
        """Look at the secrets' files; `at` is on the monotonic clock."""
        if at - self._looked < LOOK or not self._stamps:
            return
        self._looked = at
        now = {path: stamp(path) for path in self._stamps}
        if now != self._stamps:
            self._stamps = now
            self._app.log.say("INFO", "the file of a secret has changed: reading the settings anew")
            self.reload()

    async def _read(self) -> None:
        while self._wanted:
            self._wanted = False
            try:
                settings, sources = await asyncio.to_thread(load, self._flags, os.environ, config=self._config)
                self._take(settings, sources)
            except SettingsError as e:
                text = "; ".join(e.complaints)
                self._tell("failed", "ERROR", f"the settings stay as they were: {text}")
            except Exception as e:
                self._tell("failed", "ERROR", f"the settings stay as they were: {e!r}")

    def _take(self, settings: Settings, sources: Sources) -> None:
        fixed = self._app.reload(settings)
        self._stamps = sources.secret_files
        text = "the settings were read anew"
        if fixed:
            text += f"; a restart is needed for {', '.join(fixed)}"
        self._tell("ok", "WARNING" if fixed else "INFO", text)

    def _tell(self, result: str, level: str, text: str) -> None:
        self._app.reloads[result] += 1
        self._app.log.say(level, text)
        if self._run_file is not None:
            running = self._run_file.running
            running.reloads, running.failures = self._app.reloads["ok"], self._app.reloads["failed"]
            running.message = text
            self._run_file.write()

    def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
        if self._run_file is not None:
            self._run_file.close()


def _hung_up() -> bool:
    """Whether the terminal that a server was started from is gone."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return True
    return False
