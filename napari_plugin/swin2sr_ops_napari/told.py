"""Errors as sentences for people. No Qt here."""

from __future__ import annotations

import errno

from swin2sr_ops.errors import Swin2SROpsError

__all__ = ["sentence"]


def sentence(error: BaseException) -> str | None:
    """What to tell a person about ``error``; None where it is a fault of the program."""
    if isinstance(error, Swin2SROpsError):
        return str(error)
    if isinstance(error, MemoryError):
        return (
            "There is not enough memory for this. Choose the output 'OME-Zarr on disk', or 'lazy': both need memory"
            " for a few tiles only."
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            "The disk is full. Free some space and start again: the run goes on where it was. Or choose another place."
        )
    if isinstance(error, OSError):
        return f"A file cannot be read or written: {error}."
    if isinstance(error, ImportError):
        return f"Something is not installed: {error}."
    return None
