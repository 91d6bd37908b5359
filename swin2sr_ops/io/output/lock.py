"""Allow one run per output: refuse a second run, take over from a dead one."""

from __future__ import annotations

import json
import os
import random
import socket
import sys
import tempfile
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.storage.files import Files, RemoteFiles

__all__ = ["BusyError", "FileLock", "Lease", "Lock", "acquire", "lock_for"]

#: Seconds between two heartbeats of a lease, and the age of the last one at which the lease expires.
BEAT, VOID = 15.0, 60.0
#: Seconds between the first two attempts of `acquire`, and at most: each attempt at a lease costs requests.
_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
#: Runs of this process that ended while their storage did not answer: their leases still exist.
_ENDED: set[str] = set()
WINDOWS = sys.platform == "win32"


class BusyError(OutputError):
    """Another run, or a server, is writing the output at this moment."""


@dataclass
class FileLock:
    """Lock that the operating system releases when the process ends for any reason."""

    path: Path
    output: str
    _held: Any = field(default=None, repr=False)

    def acquire(self) -> None:
        """Acquire the lock, or raise an error if another run holds it."""
        import filelock

        lock = filelock.FileLock(self.path)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            # filelock also waits for the folder to become writable; or the holder has removed the file meanwhile.
            if not self.path.exists() and not _takes_files(self.path.parent):
                raise OutputError(
                    f"{self.output!r} cannot be written: its folder {str(self.path.parent)!r} takes no new files."
                    " Choose another place."
                ) from None
            raise _busy(self.output, f"its lock is {str(self.path)!r}") from None
        self._held = lock

    def release(self) -> None:
        """Release the lock, and remove its file.

        The file is removed first, so that no other run locks a file that is about to vanish. Windows cannot remove an
        open file: there it is removed after the release, unless another run has opened it in the meantime.
        """
        if self._held is None:
            return
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self._held.release()
        self._held = None
        if WINDOWS:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)


@dataclass
class Lease:
    """Lock in an object store: an object with a heartbeat, which expires a minute after the last one.

    The lease of a process on the same machine expires at once when the process is gone.
    """

    files: Files
    key: str
    output: str
    _mine: str = ""
    _stop: threading.Event = field(default_factory=threading.Event, repr=False)
    _life: threading.Thread | None = field(default=None, repr=False)

    def acquire(self) -> None:
        """Acquire the lease, or raise an error if another run holds it."""
        self._mine = uuid.uuid4().hex
        if not self.files.create(self.key, self._sign()):
            self._take_over()
        self._stop.clear()
        self._life = threading.Thread(target=self._live, daemon=True, name="lease")
        self._life.start()

    def release(self) -> None:
        """Release the lease; if the storage is unreachable, the lease expires on its own."""
        if self._life is None:
            return
        self._stop.set()
        self._life.join()  # a heartbeat after the removal would create the object again
        self._life = None
        _ENDED.add(self._mine)
        with suppress(OSError, OutputError):
            if self._holder().get("run") == self._mine:
                self.files.remove(self.key)
            _ENDED.discard(self._mine)

    def _take_over(self) -> None:
        holder = self._holder()
        age = time.time() - float(holder.get("seen", 0))
        here = holder.get("host") == socket.gethostname()
        alive = here and _alive(int(holder.get("pid", 0)), float(holder.get("started", 0)))
        dead = (here and not alive) or holder.get("run") in _ENDED
        if age < VOID and not dead:
            holds = f"process {holder.get('pid')} on {holder.get('host')}, last heartbeat {age:.0f} s ago"
            raise _busy(self.output, f"{holds}; it counts as dead {VOID:.0f} s after the last one")
        self.files.write(self.key, self._sign())
        time.sleep(0.5)  # if two runs take over at once, the last one to write has the lease
        if self._holder().get("run") != self._mine:
            raise _busy(self.output, "it has just taken over from a dead run")

    def _holder(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads(self.files.read(self.key) or b"{}")
        except ValueError:
            return {}
        return found

    def _sign(self) -> bytes:
        own = {"run": self._mine, "host": socket.gethostname(), "pid": os.getpid(), "seen": time.time()}
        return json.dumps(own | {"started": psutil.Process().create_time()}).encode()

    def _live(self) -> None:
        while not self._stop.wait(BEAT):
            with suppress(OSError, OutputError):  # the next heartbeat may succeed
                if self._holder().get("run") != self._mine:
                    return  # this machine was suspended, and another run has taken over
                self.files.write(self.key, self._sign())


Lock = FileLock | Lease


def lock_for(files: Files, beside: Path | None, key: str, output: str) -> Lock:
    """Create the lock of an output that is written to ``files``; ``beside`` is a local output's lock file."""
    if isinstance(files, RemoteFiles) or beside is None:
        return Lease(files, key, output)
    return FileLock(beside, output)


def acquire(lock: Lock, patience: float) -> None:
    """Acquire ``lock``; wait for its holder up to ``patience`` seconds.

    Servers, and tasks that change a group's documents, hold a lock only for a moment; a run holds it to its end.

    Raises
    ------
    BusyError
        If the holder has not released it by then.
    """
    end, pause = time.monotonic() + patience, _PAUSE
    while True:
        try:
            lock.acquire()
            return
        except BusyError:
            left = end - time.monotonic()
            if left <= 0:
                raise
        # Several processes that wait do not ask at the same moments.
        time.sleep(min(left, pause * random.uniform(0.5, 1)))  # noqa: S311  (no secret)
        if isinstance(lock, Lease):
            pause = min(2 * pause, _LONGEST_PAUSE)


def _takes_files(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _alive(pid: int, started: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - started) < 2
    except psutil.Error:
        return False


def _busy(output: str, how: str) -> BusyError:
    return BusyError(
        f"Another run is writing {output!r} ({how}). Wait until it ends, stop it, or choose another output."
    )
