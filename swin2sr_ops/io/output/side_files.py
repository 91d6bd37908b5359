"""Protect files from what a command writes beside its result: a report, a table of figures, a calibration."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from swin2sr_ops.errors import OutputError

__all__ = ["check_side_file", "is_within", "json_has"]


def check_side_file(path: Path, what: str, is_own: Callable[[Path], bool]) -> None:
    """Refuse to replace a file, unless it is empty, or an earlier one of the same kind.

    Parameters
    ----------
    path : path
        The file to write.
    what : str
        What it will be, such as "report".
    is_own : callable
        Tells whether an existing file is an earlier one.

    Raises
    ------
    OutputError
        If another file, such as an image, or a folder has this name.
    """
    if path.is_dir():
        raise OutputError(f"The {what} {str(path)!r} cannot be written: this is a folder. Name a file.")
    try:
        if not path.is_file() or not path.stat().st_size or is_own(path):
            return
    except OSError as exc:
        raise OutputError(f"The {what} {str(path)!r} cannot be written: {exc.strerror or exc}.") from exc
    raise OutputError(
        f"{str(path)!r} exists and is not an earlier {what}: it is not overwritten. Choose another name, or remove it."
    )


def json_has(path: Path, *names: str) -> bool:
    """Tell whether the file is a JSON object with these names."""
    with path.open("rb") as file:
        if file.read(64).lstrip()[:1] != b"{":  # an image may be large
            return False
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(found, dict) and set(names) <= found.keys()


def is_within(path: str | os.PathLike[str], place: str | os.PathLike[str]) -> bool:
    """Tell whether ``path`` is the file or folder ``place``, or lies in it; links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(place))
