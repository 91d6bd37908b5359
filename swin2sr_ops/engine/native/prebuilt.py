"""Find the kernels that came with the wheel and that this processor runs.

Nothing is loaded but libraries of the installed package, whose content is what was built: a damaged one could end the
process. A checkout and a wheel for every system have none; the machine's own compiler builds the kernels then.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from swin2sr_ops.engine.native.recipe import SUMS, TARGETS, this_system

__all__ = ["FOLDER", "Prebuilt", "find_prebuilt"]

_log = logging.getLogger(__name__)

FOLDER = Path(__file__).with_name("prebuilt")


class Prebuilt(NamedTuple):
    """A library of the wheel, loaded."""

    library: ctypes.CDLL
    path: Path


def find_prebuilt(part: str) -> Prebuilt | None:
    """Return the library that came with the wheel for this processor; None where there is none.

    Parameters
    ----------
    part : str
        ``"tiles"`` or ``"training"``.
    """
    return _find(part, FOLDER)


@lru_cache(maxsize=4)
def _find(part: str, folder: Path) -> Prebuilt | None:
    target = TARGETS.get(this_system())
    if target is None or not folder.is_dir():
        return None
    for level in target.levels:
        path = folder / target.library(part, level)
        try:
            _check_content(path)
            library = ctypes.CDLL(str(path))
        except (OSError, ValueError) as exc:
            _log.warning(
                "%s, which came with this package, cannot be used (%s): reinstall swin2sr-ops; until then the "
                "kernels are built anew, or torch computes.", path, exc,
            )  # fmt: skip
            continue
        if library.swin_runs():
            return Prebuilt(library, path)
    return None


def _check_content(path: Path) -> None:
    """Refuse a file whose content is not what the wheel promises."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if f"{found}  {path.name}" not in path.with_name(SUMS).read_text(encoding="utf-8").splitlines():
        raise OSError("its content has changed")
