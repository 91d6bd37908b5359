"""Where results on disk go: a proposal beside the source, and a check before anything runs. No Qt here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from swin2sr_ops.errors import RequestError
from swin2sr_ops.hosting import local_path

__all__ = ["checked", "proposed"]


def checked(text: str) -> str:
    """Return the address of a new OME-Zarr, absolute where it is a local path.

    Raises
    ------
    RequestError
        It is empty, has another ending, or its folder is missing or closed to writing.
    """
    if not text:
        raise RequestError("The box 'Folder' is empty: write a path that ends in .ome.zarr.")
    if not text.rstrip("/").lower().endswith(".zarr"):
        raise RequestError(
            f"{text!r} is not the name of an OME-Zarr: end it with .ome.zarr. For TIFF or PNG, restore to a new"
            " layer and save that."
        )
    path = local_path(text)
    if path is None:
        return text
    path = path.absolute()  # the whole path is shown when the run has finished
    if not path.parent.is_dir():
        raise RequestError(f"The folder {str(path.parent)!r} does not exist: create it, or choose another one.")
    if not os.access(path.parent, os.W_OK):
        raise RequestError(f"Nothing can be written into {str(path.parent)!r}: choose another folder.")
    return str(path)


def proposed(layer: Any, scale: int, before: str) -> str:
    """Propose a path beside the layer's file, else in the folder of the path ``before``, or in the user's own."""
    name = "".join(c if c.isalnum() or c in " -_." else "_" for c in layer.name).strip().replace(" ", "_")
    ending = f"x{scale}" if scale > 1 else "restored"
    return str(_folder(layer, before) / f"{name}_{ending}.ome.zarr")


def _folder(layer: Any, before: str) -> Path:
    path = str(getattr(layer.source, "path", None) or "")
    if path and "://" not in path:
        beside = Path(path).absolute().parent
        if beside.is_dir() and os.access(beside, os.W_OK):
            return beside
    return Path(before or Path.home() / "x").parent
