"""The lock of a local output: its holder, and folders in which it cannot be created."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import cast

import filelock
import pytest

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.output import lock as module
from swin2sr_ops.io.output.lock import BusyError, FileLock, Lease, acquire
from swin2sr_ops.io.storage.files import Files


def test_the_second_run_is_refused(tmp_path: Path) -> None:
    first, second = (FileLock(tmp_path / "a.lock", "a.zarr") for _ in range(2))
    first.acquire()
    with pytest.raises(BusyError, match=r"Another run is writing 'a\.zarr'"):
        second.acquire()
    first.release()
    assert not (tmp_path / "a.lock").exists()
    second.acquire()
    second.release()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc, a folder that takes no files")
def test_a_read_only_folder_is_not_another_run() -> None:
    with pytest.raises(OutputError, match="takes no new files") as caught:
        FileLock(Path("/proc/a.lock"), "/proc/a.zarr").acquire()
    assert not isinstance(caught.value, BusyError)


def test_a_holder_that_releases_at_this_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is gone when the folder is looked at, which takes new files."""

    def held(self: object, **_: object) -> None:
        raise filelock.Timeout("a.lock")

    monkeypatch.setattr(filelock.FileLock, "acquire", held)
    with pytest.raises(BusyError):
        FileLock(tmp_path / "a.lock", "a.zarr").acquire()


def test_a_holder_that_releases_soon_is_waited_for(tmp_path: Path) -> None:
    first, second = (FileLock(tmp_path / "a.lock", "a.zarr") for _ in range(2))
    first.acquire()
    with pytest.raises(BusyError):
        acquire(second, 0.05)
    threading.Timer(0.1, first.release).start()
    acquire(second, 30.0)
    second.release()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc, a folder that takes no files")
def test_a_lock_that_cannot_be_created_is_not_waited_for() -> None:
    began = time.monotonic()
    with pytest.raises(OutputError, match="takes no new files"):
        acquire(FileLock(Path("/proc/a.lock"), "/proc/a.zarr"), 30.0)
    assert time.monotonic() - began < 15


class _Clock:
    """Time that passes only while the module sleeps."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class _Held(Lease):
    attempts = 0

    def acquire(self) -> None:
        self.attempts += 1
        raise BusyError("held")


def test_an_object_store_is_asked_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lease = _Clock(), _Held(cast("Files", None), "key", "s3://a/b.zarr")
    monkeypatch.setattr(module, "time", clock)
    with pytest.raises(BusyError):
        acquire(lease, 30.0)
    assert 30 < lease.attempts < 75  # each pause lasts up to a second
    assert clock.now == pytest.approx(30.0)  # the last attempt is at the end, not before
    lease.attempts = 0
    with pytest.raises(BusyError):
        acquire(lease, 0.0)
    assert lease.attempts == 1
