"""Restore an image of Fractal's image list into a new one, and report the change."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from typing import Any, Literal

from swin2sr_ops import RunReport, restore_image
from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.hosting import Event, RunStart, files_at
from swin2sr_ops_fractal.groups import add_to_well, in_well
from swin2sr_ops_fractal.tables import carry_tables

__all__ = ["named", "ngff_of", "restore_beside", "restore_to", "updates"]

logger = logging.getLogger("swin2sr_ops.fractal")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def restore_beside(zarr_url: str, *, suffix: str, **options: Any) -> dict[str, Any]:
    """Restore an image into ``<name>_<suffix>`` beside it; in a well, list it there.

    Parameters
    ----------
    zarr_url : str
        An OME-Zarr image, in a plate or alone.
    suffix : str
        Ending of the new image's name.
    **options
        As in `restore_to`.

    Returns
    -------
    dict
        Fractal's ``image_list_updates``.
    """
    zarr_url = zarr_url.rstrip("/")
    target = named(zarr_url, suffix)
    restore_to(zarr_url, target, **options)
    if in_well(zarr_url):
        add_to_well(zarr_url, target)  # last: a well never lists an incomplete image
    return updates(zarr_url, target)


def restore_to(
    zarr_url: str,
    target: str,
    *,
    halo: int | None = None,
    overwrite: bool = False,
    labels: bool = False,
    tables: bool = True,
    **request: Any,
) -> RunReport:
    """Restore an image into ``target``, in its own version of NGFF; after an interruption, a second call resumes.

    Parameters
    ----------
    zarr_url, target : str
        Paths or URLs of image groups.
    halo : int, optional
        Pixels around a tile; None is ``"exact"``.
    overwrite : bool
        Replace ``target`` if it is the output of another run.
    labels, tables : bool
        Copy labels, enlarged; and tables of regions, which are in physical units.
    **request
        Other keywords of `swin2sr_ops.restore_image`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Beside the image lie")  # tables come along below, labels as asked
        report = restore_image(
            zarr_url,
            target,
            halo="exact" if halo is None else halo,
            overwrite=overwrite,
            ngff=ngff_of(zarr_url),
            labels="carry" if labels else "leave",
            anywhere=True,
            progress=_tell(),
            **request,
        )
    logger.info("%s", report)
    if tables:
        carried = carry_tables(zarr_url, target, labels=labels)
        if carried:
            logger.info("tables carried: %s", ", ".join(carried))
    return report


def ngff_of(zarr_url: str) -> Literal["0.5", "0.4"]:
    """Return the NGFF version for an image beside ``zarr_url``: one plate has one version of Zarr."""
    files = files_at(zarr_url)
    if files.read("zarr.json") is not None:
        return "0.5"
    if files.read(".zgroup") is not None:
        return "0.4"
    raise FormatError(f"{zarr_url!r} is not an OME-Zarr image: it contains neither a zarr.json nor a .zgroup.")


def named(url: str, suffix: str) -> str:
    """Insert ``_<suffix>`` at the end of the name in ``url``, before ``.zarr`` or ``.ome.zarr``."""
    if not _NAME.fullmatch(suffix):
        raise RequestError(f"suffix={suffix!r} is not valid in a plate: use letters, digits, '-', '_' or '.' only.")
    ending = next((end for end in (".ome.zarr", ".zarr") if url.lower().endswith(end)), "")
    stem = url[: len(url) - len(ending)]
    return f"{stem}_{suffix}{url[len(stem) :]}"


def updates(zarr_url: str, target: str, **attributes: str) -> dict[str, Any]:
    """Return a task's result: the new image has the attributes of the old one in Fractal, except ``attributes``."""
    changed = {"attributes": attributes} if attributes else {}
    return {"image_list_updates": [{"zarr_url": target, "origin": zarr_url, **changed}]}


def _tell() -> Callable[[Event], None]:
    """Log the start, and every tenth of the tiles: a task's user sees only its log."""
    logged = 0

    def tell(event: Event) -> None:
        nonlocal logged
        if isinstance(event, RunStart):
            logged = 10 * event.done // max(event.total, 1)
            logger.info("%s: %d tiles, %d of them are finished", event.image, event.total, event.done)
        elif event.kind == "tile" and 10 * event.done // event.total > logged:
            logged = 10 * event.done // event.total
            logger.info("%d of %d tiles", event.done, event.total)

    return tell
