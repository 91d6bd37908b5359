"""Keep a built library where no other user can change it, and load it only if it is unchanged.

A library is code that this user runs. So its folder and its file must belong to the user and be closed to others, a
link is never followed, and the name holds the SHA-256 of the content, by which damage is found.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from swin2sr_ops.io.storage.durable import sync_file, sync_folder
from swin2sr_ops.io.storage.moves import replace_path

__all__ = ["load_kept"]

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_CHECKS = hasattr(os, "getuid")  # Windows has neither owners nor modes of this kind
_DIGITS = 32  # of the SHA-256


def load_kept(folder: Path, name: str, build: Callable[[Path], None]) -> ctypes.CDLL:
    """Load the library ``name`` from ``folder``, and build it first where it is missing or damaged.

    Parameters
    ----------
    folder : Path
        Created where it is missing.
    name : str
        Without suffix: ``tiles-0123456789abcdef``.
    build : callable
        Writes the library to the path that it gets.

    Raises
    ------
    OSError
        The folder is not safe, cannot be written, or libraries cannot be loaded from it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _check_folder(folder)
    whole = next((path for path in sorted(folder.glob(f"{name}.*.so")) if _is_whole(path)), None)
    if whole is None:
        whole = _keep(folder, name, build)
    return ctypes.CDLL(str(whole))


def _check_folder(folder: Path) -> None:
    """Refuse a folder in which others could put a library."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(f"{folder} is a link or a file, not a folder")
    if not _CHECKS:
        return
    if found.st_uid != os.getuid():
        raise OSError(f"{folder} belongs to another user")
    if found.st_mode & _OTHERS_WRITE:
        raise OSError(f"other users can write to {folder}")
    for above in Path(os.path.realpath(folder)).parents:
        mode = above.stat().st_mode
        if mode & _OTHERS_WRITE and not mode & stat.S_ISVTX:
            raise OSError(f"other users can replace {folder}, because they can write to {above}")


def _is_whole(path: Path) -> bool:
    """Tell whether ``path`` is this user's own file, closed to others, with the content of its digest."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:  # a link, or not readable
        return False
    found = os.fstat(handle)
    ours = not _CHECKS or (found.st_uid == os.getuid() and not found.st_mode & _OTHERS_WRITE)
    if not (ours and stat.S_ISREG(found.st_mode)):
        os.close(handle)
        return False
    with os.fdopen(handle, "rb") as file:
        return path.name.split(".")[-2] == _digest(file.read())


def _keep(folder: Path, name: str, build: Callable[[Path], None]) -> Path:
    """Build the library, and give it its name when it is on the disk."""
    # A folder of its own: several processes may build at the same time, and each gets a whole file.
    made = folder / f".{name}.{os.getpid()}.{os.urandom(4).hex()}"
    made.mkdir(mode=0o700)
    try:
        fresh = made / "library.so"
        build(fresh)
        fresh.chmod(0o700)
        sync_file(fresh)
        target = folder / f"{name}.{_digest(fresh.read_bytes())}.so"
        _remove_damaged(folder, name)
        replace_path(fresh, target)
        sync_folder(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target


def _remove_damaged(folder: Path, name: str) -> None:
    for path in folder.glob(f"{name}.*.so"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif not _is_whole(path):
            path.unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
