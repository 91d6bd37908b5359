"""The lock of a local output: its holder, and folders in which it cannot be created."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import filelock
import pytest

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.output.lock import BusyError, FileLock, acquire


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
