"""The supervisor: starts workers, looks after them, and ends them."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from switchboard.app import secrets_of
from switchboard.cli.live import Readings, Terminal
from switchboard.cli.serve import make_run_file
from switchboard.cli.supervisor import worker
from switchboard.cli.supervisor.line import DRAIN, NOW, QUICK, Line
from switchboard.cli.supervisor.places import Sockets, listeners
from switchboard.cli.supervisor.reloading import Reloading
from switchboard.cli.supervisor.shared import Shared, prepare
from switchboard.cli.supervisor.slot import Slot, how
from switchboard.cli.supervisor.system import HANDLED, Direct, Signals
from switchboard.config.load import Sources, load_anew
from switchboard.config.tree import Settings
from switchboard.core.clock import now
from switchboard.core.masking import mask_secrets, spellings
from switchboard.telemetry import logs
from switchboard.telemetry.handler import attach

#: Seconds that workers have for their end over and above what the settings give them.
GRACE: Final = 5.0
#: What uvicorn imports by name when a server starts: better once, before the first fork.
_WARM: Final = ("uvicorn.lifespan.off", "uvicorn.protocols.http.auto", "encodings.idna", "stringprep")


def supervise(settings: Settings, sources: Sources, flags: Mapping[tuple[str, ...], Any], config: str | None) -> int:
    """Serve with several workers until a signal comes; gives the exit status. Exits with 1 when the port cannot be had."""
    sockets = listeners(settings)
    output = Direct(sys.stderr.fileno())
    style = logs.style_for(settings.log.format)
    log = logs.Log(output, level=settings.log.level, style=style, secrets=secrets_of(settings))
    attach(log, settings.log.level)
    places = Sockets(settings, sockets[0].getsockname()[1])
    try:
        shared = prepare(settings, places.process)
        for name in _WARM:
            importlib.import_module(name)
        # what is there now lives in all workers: pages that no collection touches stay common to them
        gc.collect()
        gc.freeze()
        supervisor = Supervisor(settings, sources, flags, config, sockets, places, shared, log)
        try:
            return supervisor.run()
        finally:
            supervisor.close()
            shared.close()
    except OSError as e:
        print(f"switchboard: the workers cannot be started: {e}", file=sys.stderr)
        return 1
    finally:
        places.close()


class Supervisor:
    """Has one worker in each place. `run` returns when all have ended after a signal."""

    def __init__(
        self,
        settings: Settings,
        sources: Sources,
        flags: Mapping[tuple[str, ...], Any],
        config: str | None,
        sockets: list[socket.socket],
        places: Sockets,
        shared: Shared,
        log: logs.Log,
    ) -> None:
        self._file = sources.file
        self._times = settings.shutdown
        self._sockets = sockets
        self._port = int(sockets[0].getsockname()[1])
        self._places = places
        self._shared = shared
        self._log = log
        self._slots = [Slot(n) for n in range(settings.workers)]
        self._slots[0].listens = True  # from the very start
        self._readings = Readings(log, {"ok": 0, "failed": 0})
        self._reloading = Reloading(
            settings,
            sources,
            lambda running, file: load_anew(running, file, flags, os.environ, config=config),
            self._readings,
            self._tell_all,
            self._configure_log,
        )
        self._secrets = set(secrets_of(settings))
        self._terminal = Terminal()
        self._signals = Signals()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._signals.socket, selectors.EVENT_READ)
        self._banner: bytes | None = None
        self._announced = False
        self._ending = False
        self._end = 0.0  # by when all have to have ended
        self._status = 0

    # ---- the turn of things

    def run(self) -> int:
        """Start the workers, look after them until they have ended; gives the exit status."""
        for slot in self._slots:
            self._start(slot)
        while True:
            if self._ending and not any(s.pid for s in self._slots):
                return self._status
            for key, events in self._selector.select(self._timeout()):
                if isinstance(key.data, Slot):
                    self._speak(key.data, events)
            for number in self._signals.take():
                self._obey(number)
            self._reap()
            self._look(now())

    def _timeout(self) -> float | None:
        """Seconds until something has to be done, None where nothing has."""
        at = now()
        waits = [slot.due - at for slot in self._slots if slot.due is not None]
        if self._ending:
            waits = [self._end - at]
        elif (tick := self._reloading.next_tick) is not None:
            waits.append(tick)
        return max(0.0, min(waits)) if waits else None

    def _look(self, at: float) -> None:
        """Do what it is time for."""
        if self._ending:
            if at >= self._end:
                self._kill()
            return
        for slot in self._slots:
            if slot.due is not None and at >= slot.due:
                try:
                    self._shared.forget_worker(slot.index)
                except Exception as e:
                    self._log.say("ERROR", f"what worker {slot.index} held could not be freed: {e!r}")
                self._start(slot)
        self._reloading.tick(at)

    def _obey(self, number: int) -> None:
        if number == signal.SIGCHLD:
            return  # looked at in each turn
        if number != signal.SIGHUP:
            self._begin_end(quick=number == signal.SIGINT)
        elif self._terminal.gone():
            self._begin_end(quick=False)
        elif not self._ending:
            self._reloading.begin()

    # ---- workers

    def _start(self, slot: Slot) -> None:
        """Fork a worker."""
        pair: tuple[socket.socket, ...] = ()
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # until the child has handlers of its own
        try:
            pair = ours, theirs = socket.socketpair()
            pid = os.fork()
            if not pid:
                self._become_worker(slot, ours, theirs)
        except OSError as e:
            for s in pair:
                s.close()
            slot.reason = f"no process can be had: {e.strerror}"
            self._log.say("ERROR", f"worker {slot.index}: {slot.reason}; tried again in {slot.left(now()):.0f} s")
            self._give_up()
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        theirs.close()
        slot.filled(pid, Line(ours))
        self._selector.register(ours, selectors.EVENT_READ, slot)
        if any(self._readings.counts.values()):
            self._tell(slot, b"C", self._reloading.counts)

    def _become_worker(self, slot: Slot, ours: socket.socket, theirs: socket.socket) -> NoReturn:
        """What the child does: leave everything that is the supervisor's, serve, and end. Nothing above it goes on."""
        status = 1
        try:
            self._signals.leave()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
            ours.close()
            self._selector.close()
            for other in self._slots:
                if other.line is not None:
                    other.line.close()  # else the end of the supervisor would not be seen
            if self._readings.run_file is not None:
                self._readings.run_file.leave()
            process = self._places.of(slot.index)
            settings = self._reloading.settings
            status = worker.main(settings, self._file, process, self._shared, Line(theirs), self._sockets)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(status)

    def _speak(self, slot: Slot, events: int) -> None:
        """A worker's line can be read, or written on."""
        line = slot.line
        if line is None or line.ended:
            return
        if events & selectors.EVENT_WRITE:
            line.send_on()
        for kind, payload in line.receive():
            self._hear(slot, kind, payload)
        self._watch(line, slot)

    def _watch(self, line: Line, slot: Slot) -> None:
        """Wake when the line can be read, and written on where that is wanted; no more when it has ended."""
        if line.ended:
            with contextlib.suppress(KeyError):  # that was known already
                self._selector.unregister(line.socket)
        else:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if line.waiting else 0)
            self._selector.modify(line.socket, wanted, slot)

    def _hear(self, slot: Slot, kind: bytes, payload: bytes) -> None:
        if kind == b"R":
            slot.begun(now())
            self._banner = payload
            if self._announced:
                self._log.say("INFO", f"worker {slot.index} is process {slot.pid} now")
            self._share_sockets()
            self._announce()
        elif kind == b"G":
            slot.leaving = True
            self._share_sockets()
        elif kind == b"X":
            slot.reason = payload.decode(errors="replace")
        elif kind in b"OF":
            self._reloading.answered(slot.index, kind, payload)

    def _tell(self, slot: Slot, kind: bytes, payload: bytes) -> bool:
        """Say something to a worker; False where there is none."""
        line = slot.line
        if line is None or line.ended:
            return False
        line.send(kind, payload)
        self._watch(line, slot)
        if line.ended:  # it has not read for so long that nothing can be expected of it
            os.kill(slot.pid, signal.SIGKILL)
        return not line.ended

    def _tell_all(self, kind: bytes, payload: bytes) -> list[int]:
        return [slot.index for slot in self._slots if self._tell(slot, kind, payload)]

    def _reap(self) -> None:
        """Take note of processes that have ended, be they ours or left to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for slot in self._slots:
                if slot.pid == pid:
                    self._died(slot, os.waitstatus_to_exitcode(status))

    def _died(self, slot: Slot, status: int) -> None:
        line = slot.line
        if line is not None and not line.ended:
            for kind, payload in line.receive():  # its last words
                self._hear(slot, kind, payload)
            line.ended = True
            self._watch(line, slot)
        about = f"worker {slot.index} (process {slot.pid}) {how(status)}" + (f": {slot.reason}" if slot.reason else "")
        wait = slot.left(now())
        self._reloading.gone(slot.index)
        if self._ending:
            slot.due = None
            if status not in (0, -signal.SIGTERM):  # of the latter it dies before it has a server
                self._status = 1
                self._log.say("ERROR", about)
            return
        when = f"in {wait:.0f} s" if wait else "at once"
        self._log.say("ERROR" if status else "WARNING", f"{about}; another one takes its place {when}")
        self._share_sockets()
        self._announce()
        self._give_up()

    def _share_sockets(self) -> None:
        """Have what comes in for workers that are dead, or about to end, accepted by one that is not."""
        if self._ending:
            return
        able = [s for s in self._slots if s.able]
        for slot in self._slots:
            keeper = None if slot.keeper is None else self._slots[slot.keeper]
            if keeper is not None and not keeper.able:
                slot.keeper = keeper = None
            name = str(slot.index).encode()
            if slot.able and keeper is not None:
                self._tell(keeper, b"L", name)
                slot.keeper = None
            elif not slot.able and slot.listens and keeper is None and able:
                self._tell(able[0], b"A", name)
                slot.keeper = able[0].index

    # ---- the beginning and the end

    def _announce(self) -> None:
        """Once it is known of all workers how they have fared: say that the server is there."""
        if self._announced or self._ending or self._banner is None or not all(s.tried for s in self._slots):
            return
        self._announced = True
        self._log.output.write(self._banner)
        self._readings.run_file = make_run_file(self._reloading.settings, self._port, self._log)

    def _give_up(self) -> None:
        """End if all workers have failed at the very start."""
        if self._ending or self._banner is not None or not all(s.tried for s in self._slots):
            return
        reasons = dict.fromkeys(s.reason for s in self._slots if s.reason)
        why = "; ".join(reasons) or "see what was said above"
        why = mask_secrets(why, spellings(self._secrets))
        self._log.output.write(f"switchboard: no worker could be started: {why}\n".encode())
        self._begin_end(quick=True)
        self._status = 1

    def _begin_end(self, *, quick: bool) -> None:
        """End; at once where that was said before."""
        how_to = NOW if self._ending else QUICK if quick else DRAIN
        self._ending = True
        wait = {NOW: 0.0, QUICK: self._times.streams, DRAIN: self._times.accept + self._times.streams}[how_to]
        self._end = now() + wait + GRACE
        for sock in self._sockets:
            sock.close()  # the workers' own stay, until they accept no more
        for slot in self._slots:
            slot.due = None
        self._tell_all(b"E", how_to)

    def _kill(self) -> None:
        """Time is over."""
        self._end = now() + GRACE
        self._status = 1
        for slot in self._slots:
            if slot.pid:
                self._log.say("ERROR", f"worker {slot.index} (process {slot.pid}) does not end, and is killed")
                os.kill(slot.pid, signal.SIGKILL)

    def _configure_log(self, settings: Settings) -> None:
        before, self._secrets = self._secrets, set(secrets_of(settings))
        self._log.configure(level=settings.log.level, secrets=before | self._secrets)

    def close(self) -> None:
        """Let go of everything."""
        self._signals.close()
        self._selector.close()
        if self._readings.run_file is not None:
            self._readings.run_file.close()
