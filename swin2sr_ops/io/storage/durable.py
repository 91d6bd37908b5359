"""Make outputs survive a power cut: force files and folders onto the disk.

A file system may keep data in memory for half a minute after a program closed its files, and may store a rename
before the data that it names. Therefore an output is synced before it gets its name, and then the folder that
contains the name.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

#: Errors of file systems without such a call: a sandbox, a network or FUSE file system.
_NO_SUCH_CALL = {errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}

__all__ = ["sync_file", "sync_folder", "sync_tree", "write_durably"]


def sync_tree(path: Path) -> None:
    """Force ``path``, a file or a folder with everything below it, onto the disk.

    On Linux one call syncs the file system that holds ``path`` (``syncfs``), which is faster than a call per chunk.
    Elsewhere each file and folder is synced.

    Raises
    ------
    OSError
        If the disk reports lost data.
    """
    if path.is_file():
        sync_file(path)
        return
    if _sync_file_system(path):
        return
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            sync_file(Path(folder, name))
        sync_folder(Path(folder))


def sync_file(path: Path) -> None:
    """Force the bytes of one file onto the disk."""
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)  # Windows syncs writable files only
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Force the names in a folder onto the disk; if folders cannot be opened (Windows), names need no sync."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except (PermissionError, IsADirectoryError):
        return
    try:
        os.fsync(handle)
    except OSError as exc:
        if exc.errno not in _NO_SUCH_CALL:
            raise
    finally:
        os.close(handle)


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file and force its bytes onto the disk; the caller syncs the folder with its name."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_file_system(path: Path) -> bool:
    """Sync the entire file system of ``path`` in one call; return False if there is no such call."""
    syncfs = _syncfs()
    if syncfs is None:
        return False
    handle = os.open(path, os.O_RDONLY)
    try:
        if syncfs(handle) != 0:
            code = ctypes.get_errno()
            if code in _NO_SUCH_CALL:
                return False
            raise OSError(code, os.strerror(code), str(path))
    finally:
        os.close(handle)
    return True


@cache
def _syncfs() -> ctypes._NamedFuncPointer | None:
    """Find Linux' ``syncfs``."""
    if not sys.platform.startswith("linux"):
        return None
    with suppress(OSError, AttributeError):
        function = ctypes.CDLL(None, use_errno=True).syncfs
        function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int
        return function
    return None
