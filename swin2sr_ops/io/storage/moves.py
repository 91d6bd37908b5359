"""Rename and remove with patience: on Windows, a virus scanner or an indexer holds a new file open for a moment."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from uuid import uuid4

__all__ = ["patiently", "remove_path", "replace_path", "replacing"]

_T = TypeVar("_T")
WINDOWS = sys.platform == "win32"
#: Seconds before each further try: 3 in all.
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5)


def replace_path(old: str | os.PathLike[str], new: str | os.PathLike[str]) -> None:
    """Give ``old`` the name ``new``, as `os.replace` does."""
    patiently(lambda: os.replace(old, new))


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield an empty file beside ``target`` to fill; it takes the name ``target`` at the end.

    After an error neither the new file nor a part of it is left. The file has the rights that new files of this user
    have, whatever fills it: `tempfile` and ``safetensors`` make private files. A link stays one, to the new file; a
    pipe or a device such as ``/dev/stdout`` stays what it is, and gets the bytes at the end.
    """
    if target.exists() and (not target.is_file() or target.parent == Path("/dev")):
        with TemporaryDirectory() as folder:
            filled = Path(folder) / target.name
            filled.touch()
            yield filled
            with filled.open("rb") as made, target.open("wb") as stream:
                shutil.copyfileobj(made, stream)
        return
    target = Path(os.path.realpath(target))
    part = target.with_name(f".{uuid4().hex}.{target.name}")
    try:
        part.touch(exist_ok=False)
        rights = part.stat().st_mode
        yield part
        part.chmod(rights)
        replace_path(part, target)
    finally:
        remove_path(part)


def remove_path(path: Path) -> None:
    """Remove a file, a link, or a folder with all that is in it; nothing happens where nothing is."""
    if path.is_dir() and not path.is_symlink():
        patiently(lambda: shutil.rmtree(path))
    else:
        patiently(lambda: path.unlink(missing_ok=True))


def patiently(change: Callable[[], _T]) -> _T:
    """Return what ``change`` returns; on Windows, try it again where another program holds the file open."""
    for pause in PAUSES if WINDOWS else ():
        try:
            return change()
        except PermissionError:  # a real lack of rights is raised by the last try
            time.sleep(pause)
    return change()
