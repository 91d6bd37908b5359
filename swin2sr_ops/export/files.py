"""Check the name of a file to export, and write it completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

from swin2sr_ops.calls import path_of
from swin2sr_ops.errors import OutputError, RequestError
from swin2sr_ops.io.storage.moves import replacing
from swin2sr_ops.io.storage.paths import user_path

__all__ = ["target_of", "write_file"]


def target_of(
    path: str | PathLike[str], suffix: str, model: object, *, overwrite: bool, needed: Sequence[str], extra: str
) -> Path:
    """Return the file to write, after checking its name, its folder, and that the packages ``needed`` are installed.

    It may not be the file of ``model``.
    """
    target = Path(path_of(path, "The output")).expanduser()
    if target.suffix != suffix:
        raise RequestError(f"{str(target)!r} does not end in {suffix}: name the output so.")
    if target.exists() and not overwrite:
        raise OutputError(f"{str(target)!r} exists: choose another name, or overwrite it.")
    if isinstance(model, (str, PathLike)) and os.path.realpath(target) == os.path.realpath(user_path(model)):
        raise OutputError(f"{str(target)!r} is the model itself, which must not change: choose another name.")
    if not target.absolute().parent.is_dir():
        raise OutputError(f"There is no folder for {str(target)!r}.")
    missing = [name for name in needed if find_spec(name.partition(".")[0]) is None or find_spec(name) is None]
    if missing:
        raise RequestError(
            f"Writing {suffix} needs {' and '.join(missing)}: install the extra with "
            f"pip install 'swin2sr-ops[{extra}]'."
        )
    return target


def write_file(target: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a file beside ``target``, then give it its name."""
    try:
        with replacing(target) as part:
            write(part)
    except OSError as exc:
        raise OutputError(f"{str(target)!r} cannot be written: {exc.strerror or exc}.") from exc
