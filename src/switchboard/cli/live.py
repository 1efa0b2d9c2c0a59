"""The settings of a running server: read anew on SIGHUP, and by itself when the file of a secret has changed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from switchboard.app import Application
from switchboard.cli.run_file import RunFile
from switchboard.config.load import SettingsError, Sources, Stamp, load_anew, stamp
from switchboard.config.tree import Settings
from switchboard.telemetry.logs import Log

#: Seconds between two looks at the files of secrets.
LOOK: Final = 1.0


class SecretFiles:
    """The files that secrets are read from, each with its stamp as it was when it was read."""

    def __init__(self, stamps: dict[Path, Stamp | None]) -> None:
        self._stamps = stamps
        self._looked = 0.0

    def __bool__(self) -> bool:
        return bool(self._stamps)

    def changed(self, at: float) -> bool:
        """Whether one is another than at the last look; looks every `LOOK` seconds. `at` is on the monotonic clock."""
        if at - self._looked < LOOK or not self._stamps:
            return False
        self._looked = at
        now = {path: stamp(path) for path in self._stamps}
        if now == self._stamps:
            return False
        self._stamps = now
        return True


class Readings:
    """What became of each reading of the settings: counted in `counts`, said in the log and in the run file."""

    def __init__(self, log: Log, counts: dict[str, int]) -> None:
        self._log = log
        self.counts = counts
        self.run_file: RunFile | None = None

    def begin_by_itself(self) -> None:
        """Nobody asked for the reading that begins."""
        self._log.say("INFO", "the file of a secret has changed: reading the settings anew")

    def succeeded(self, fixed: list[str]) -> None:
        """New settings hold; those named in `fixed` only after a restart."""
        text = "the settings were read anew"
        if fixed:
            text += f"; a restart is needed for {', '.join(fixed)}"
        self._tell("ok", "WARNING" if fixed else "INFO", text)

    def failed(self, error: Exception | str) -> None:
        """The settings could not be used, and stay as they were."""
        if isinstance(error, Exception):
            error = "; ".join(error.complaints) if isinstance(error, SettingsError) else repr(error)
        self._tell("failed", "ERROR", f"the settings stay as they were: {error}")

    def _tell(self, result: str, level: str, text: str) -> None:
        self.counts[result] += 1
        self._log.say(level, text)
        if self.run_file is not None:
            running = self.run_file.running
            running.reloads, running.failures = self.counts["ok"], self.counts["failed"]
            running.message = text
            with contextlib.suppress(OSError):  # a full disk, say; the log knows
                self.run_file.write()


class LiveSettings:
    """Reads the settings anew for `app` from where `flags` and `config` say. A reading that fails changes nothing."""

    def __init__(
        self, app: Application, flags: Mapping[tuple[str, ...], Any], config: str | None, sources: Sources
    ) -> None:
        self._app = app
        self._flags = flags
        self._config = config
        self._file = sources.file
        self._secrets = SecretFiles(sources.secret_files)
        self._readings = Readings(app.log, app.reloads)
        self._terminal = Terminal()
        self._wanted = False
        self._task: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Read the settings anew on SIGHUP. It also comes when a terminal is closed: then the server ends."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._signalled)

    def tell(self, run_file: RunFile) -> None:
        """From now on `run_file` is told what becomes of each reading."""
        self._readings.run_file = run_file

    def _signalled(self) -> None:
        if self._terminal.gone():
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
        if self._secrets.changed(at):
            self._readings.begin_by_itself()
            self.reload()

    async def _read(self) -> None:
        while self._wanted:
            self._wanted = False
            try:
                running = self._app.runtime.settings
                settings, sources = await asyncio.to_thread(
                    load_anew, running, self._file, self._flags, os.environ, config=self._config
                )
                self._take(settings, sources)
            except Exception as e:
                self._readings.failed(e)

    def _take(self, settings: Settings, sources: Sources) -> None:
        fixed = self._app.reload(settings)
        self._file = sources.file
        self._secrets = SecretFiles(sources.secret_files)
        self._readings.succeeded(fixed)

    def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
        if self._readings.run_file is not None:
            self._readings.run_file.close()


class Terminal:
    """The terminal that this process was started from, if it was started from one."""

    def __init__(self) -> None:
        self._there = sys.stderr.isatty()

    def gone(self) -> bool:
        """Whether there was one and it was closed."""
        if not self._there:
            return False
        try:
            os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        except OSError:
            return True
        return False
