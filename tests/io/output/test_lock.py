"""The lock of a local output: its holder, and folders in which it cannot be created."""

from __future__ import annotations

from pathlib import Path

import pytest

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.output.lock import BusyError, FileLock


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
